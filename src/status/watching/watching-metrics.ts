/** What one tick of the poller came to. */
export interface Tick {
  /** How many different ids it asked for. */
  readonly ids: number;
  /** How many statuses it got: ids without a live status have none. */
  readonly rows: number;
  /** How many statements it took. */
  readonly statements: number;
  /** Whether it took longer than the interval, so that the next one is late. */
  readonly isOverrun: boolean;
}

/** Measures what calls wait for, and what reading it costs. `telemetry/` implements it. */
export interface WatchingMetrics {
  /** @param count how many different ids are watched. */
  watchIds(count: () => number): void;
  tick(tick: Tick): void;
  /**
   * A changed status was written to a caller that waited for it.
   *
   * @param lag since the change of its row, in milliseconds: `sinceUpdate` of the read, and the time from there.
   */
  written(lag: number): void;
}
