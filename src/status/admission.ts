import type { Limit } from "./errors.ts";

/** Decides which calls are admitted and which are shed, before any work. */
export interface Admission {
  /**
   * @param weight how much the call may read: 1 for an id.
   * @param isBatch whether the call is one of those that together take at most half of each limit. Default false.
   * @returns the limit that sheds the call. Undefined: it is admitted, and must leave with the same arguments.
   */
  enter(weight: number, isBatch?: boolean): Limit | undefined;
  leave(weight: number, isBatch?: boolean): void;
}

/** How many ids cost about as much as a call of its own. */
const idsOfWeight = 32;

/** @returns the weight of a call that reads this number of ids together. */
export function weightOf(ids: number): number {
  return Math.ceil(ids / idsOfWeight);
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
 * A batch is always admitted when it is the only one, however heavy it is and however many other calls are in flight: among
 * calls that each need one place, 32 places would never be free at the same time. It takes no more than half of the limit from
 * them.
 */
export function createAdmission({ maxInFlight, maxWhenBusy }: AdmissionOptions): Admission {
  let ofBatches = 0;
  let ofOthers = 0;
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

  function isBeyond(limit: number, weight: number, isBatch: boolean): boolean {
    const half = Math.floor(limit / 2);
    if (isBatch && ofBatches + weight > half) return true;
    return ofOthers + Math.min(ofBatches, half) + weight > limit;
  }

  function limitFor(weight: number, isBatch: boolean): Limit | undefined {
    if ((isBatch ? ofBatches : ofBatches + ofOthers) === 0) return undefined;
    if (isBeyond(maxInFlight, weight, isBatch)) return "MAX_IN_FLIGHT";
    return isBeyond(maxWhenBusy, weight, isBatch) && isSaturated() ? "MAX_WHEN_BUSY" : undefined;
  }

  function add(weight: number, isBatch: boolean): void {
    if (isBatch) ofBatches += weight;
    else ofOthers += weight;
  }

  return {
    enter(weight, isBatch = false) {
      const limit = limitFor(weight, isBatch);
      if (limit === undefined) add(weight, isBatch);
      return limit;
    },
    leave: (weight, isBatch = false) => add(-weight, isBatch),
  };
}
