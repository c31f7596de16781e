import type { Ending } from "../connections.ts";
import type { State } from "../states.ts";

/** Reads the answer to one call that waits. */
export interface Reader {
  /** Reads the next bytes of the answer. @returns the states that they complete. */
  read(bytes: Buffer): State[];
  /**
   * @returns the states that only the end completes; and how the call ended: `OK` when the server said that all was
   *   reported, otherwise an error's name.
   */
  end(ending: Ending): { readonly states: State[]; readonly outcome: string };
}

/** The outcome of a call whose answer is not whole. */
export const brokenOff = "broken off";

/** The outcome of a long poll that was answered before the status was final. */
export const timeOver = "time over";

/** The outcome of a call that the service had no room for. */
export const shed = "OVERLOADED";

export const nothingMore: State[] = [];
