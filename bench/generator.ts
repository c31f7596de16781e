import { once } from "node:events";
import { join } from "node:path";
import { startChild } from "./children.ts";
import type { Phase, PhaseResult } from "./load/phase.ts";
import type { LoadMessage } from "./load.ts";

/** The load generator, in a process of its own. Disposing of it ends the process. */
export interface Generator extends AsyncDisposable {
  /** @throws Error at a wrong answer. */
  run(phase: Phase): Promise<PhaseResult>;
}

export function startGenerator(cpus: string): Generator {
  const command = [process.execPath, join(import.meta.dirname, "load.ts")];
  const child = startChild("the load generator", cpus, command, { channel: true });
  return {
    async run(phase) {
      child.process.send(phase);
      const [message] = (await Promise.race([once(child.process, "message"), child.failed])) as [LoadMessage];
      if ("error" in message) throw new Error(message.error);
      return message.result;
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
