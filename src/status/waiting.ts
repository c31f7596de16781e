import type { Limit } from "./status.ts";

/** Bounds the calls that are held: those that are answered when something changes, and cost memory until then. */
export interface Waiting {
  /** @returns the limit that sheds the call. Undefined: it is held, and must leave. */
  enter(): Limit | undefined;
  leave(): void;
}

/** @param maxWaiting calls that are held at the same time, over all methods and protocols. */
export function createWaiting(maxWaiting: number): Waiting {
  let waiting = 0;
  return {
    enter() {
      if (waiting >= maxWaiting) return "MAX_WAITING";
      waiting++;
      return undefined;
    },
    leave() {
      waiting--;
    },
  };
}
