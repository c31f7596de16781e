import type { Limit } from "./errors.ts";

/** Decides which calls are admitted and which are shed, before any work. */
export interface Admission {
  /**
   * @param weight how many ids the call may read.
   * @returns the limit that sheds the call. Undefined: it is admitted, and must leave with the same weight.
   */
  enter(weight: number): Limit | undefined;
  leave(weight: number): void;
}

export interface AdmissionOptions {
  /** The weight of all calls that may be in flight, over all protocols. */
  readonly maxInFlight: number;
  /** The same, while the event loop is saturated. */
  readonly maxWhenBusy: number;
}

/** How often, in milliseconds, the event loop is measured: a single burst that is over before the second measurement is not shed. */
const interval = 100;

/** The utilization of the event loop from which it counts as saturated. The rest is what it waits for others meanwhile. */
const saturatedFrom = 0.8;

/** Measurements in a row that must find it saturated: while the database is stuck, many calls wait, and one sees any spike. */
const measurementsInARow = 2;

/**
 * What makes answers late is either the database, which many calls may wait for and share its statements, or this process' own
 * event loop. Once that is saturated, more calls at the same time bring no more answers a second, only later ones.
 *
 * A call heavier than the limit is admitted when nothing else is in flight.
 */
export function createAdmission({ maxInFlight, maxWhenBusy }: AdmissionOptions): Admission {
  let inFlight = 0;
  let lastMeasured = performance.eventLoopUtilization();
  let nextMeasurement = 0;
  let saturatedInARow = 0;

  /** Measures only when there is something to decide. After a quiet time, that averages over all of it. */
  function isSaturated(): boolean {
    const now = performance.now();
    if (now >= nextMeasurement) {
      const measured = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(measured, lastMeasured);
      saturatedInARow = utilization > saturatedFrom ? saturatedInARow + 1 : 0;
      lastMeasured = measured;
      nextMeasurement = now + interval;
    }
    return saturatedInARow >= measurementsInARow;
  }

  return {
    enter(weight) {
      if (inFlight > 0) {
        const total = inFlight + weight;
        if (total > maxInFlight) return "MAX_IN_FLIGHT";
        if (total > maxWhenBusy && isSaturated()) return "MAX_WHEN_BUSY";
      }
      inFlight += weight;
      return undefined;
    },
    leave(weight) {
      inFlight -= weight;
    },
  };
}
