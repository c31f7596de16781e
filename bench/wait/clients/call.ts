import type { Connections, Exchange } from "./connections.ts";
import type { State } from "./states.ts";
import type { Way } from "./ways/ways.ts";

/** One call that waits. */
export interface WaitingCall {
  readonly reqIds: readonly string[];
  /** Of a long poll, in seconds. Default: 30. */
  readonly wait?: number | undefined;
  onState(state: State): void;
  /** @param outcome `OK` when the server said that all was reported. */
  onEnd(outcome: string): void;
}

/** Makes a call that waits. @param client the number of the client, which decides its connection. */
export function call(
  way: Way,
  connections: Connections,
  client: number,
  { reqIds, wait, onState, onEnd }: WaitingCall,
): Exchange {
  const reader = way.reader(reqIds);
  return connections.send(client, way.request(reqIds, wait), {
    onBytes(bytes) {
      for (const state of reader.read(bytes)) onState(state);
    },
    onEnd(ending) {
      const { states, outcome } = reader.end(ending);
      for (const state of states) onState(state);
      onEnd(outcome);
    },
  });
}
