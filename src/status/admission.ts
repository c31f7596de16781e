import type { Limit } from "./status.ts";

export interface AdmissionOptions {
  /** Calls that are answered at the same time, over all protocols. */
  readonly maxInFlight: number;
  /** The same, while the event loop has no rest. */
  readonly maxWhenBusy: number;
}

/** Decides which calls are answered and which are shed, before any work. */
export interface Admission {
  /** @returns the limit that sheds the call. Undefined: it has entered, and must leave. */
  enter(): Limit | undefined;
  leave(): void;
}

/** How often, in milliseconds, the event loop is looked at: a single burst that is over before the second look is not shed. */
const interval = 100;

/** The share of its time from which on the event loop counts as busy. The rest is what it waits for others meanwhile. */
const busyFrom = 0.8;

/** So many looks in a row must find it busy: while the database is stuck, many calls wait, and any spike is seen by one. */
const busyLooks = 2;

/**
 * What makes answers late is either the database, which many calls may wait for and share its statements, or our own
 * event loop. Once that has no rest, more calls at the same time bring no more answers a second, only later ones.
 */
export function createAdmission({ maxInFlight, maxWhenBusy }: AdmissionOptions): Admission {
  let inFlight = 0;
  let lastLook = performance.eventLoopUtilization();
  let nextLook = 0;
  let busyInARow = 0;

  /** Looks only when there is something to decide. After a quiet time, that looks back over all of it. */
  function looksBusy(): boolean {
    const now = performance.now();
    if (now >= nextLook) {
      const look = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(look, lastLook);
      busyInARow = utilization > busyFrom ? busyInARow + 1 : 0;
      lastLook = look;
      nextLook = now + interval;
    }
    return busyInARow >= busyLooks;
  }

  return {
    enter() {
      if (inFlight >= maxInFlight) return "MAX_IN_FLIGHT";
      if (inFlight >= maxWhenBusy && looksBusy()) return "MAX_WHEN_BUSY";
      inFlight++;
      return undefined;
    },
    leave() {
      inFlight--;
    },
  };
}
