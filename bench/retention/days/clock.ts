import { keptHours } from "../plan.ts";

/**
 * The clock of the simulated days, which end when they begin by the real one: what is purged must be older than 24 hours by
 * the database's clock, which nothing changes.
 */
export interface SimulatedClock {
  /** When the simulated time was 0, in Unix seconds: a row of the simulated time s was created s seconds later. */
  readonly epoch: number;
  /**
   * The age, in milliseconds by the real clock, of what is older than {@link keptHours} at a simulated time.
   *
   * @param seconds the simulated time.
   * @param now of the real clock, in Unix milliseconds.
   */
  olderThan(seconds: number, now?: number): number;
}

/** @param now when the simulation begins, in Unix milliseconds of the real clock. */
export function startClock(hours: number, now = Date.now()): SimulatedClock {
  const epoch = Math.floor(now / 1000) - hours * 3600;
  return {
    epoch,
    olderThan: (seconds, at = Date.now()) => at - (epoch + seconds - keptHours * 3600) * 1000,
  };
}
