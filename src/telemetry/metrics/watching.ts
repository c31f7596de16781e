import { Counter, Gauge, type Registry } from "prom-client";
import type { WatchingMetrics } from "../../status/watching/watching-metrics.ts";
import { Histogram } from "./histogram.ts";

const perTick = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000];

/** In seconds. The poller reads young requests every quarter of a second. */
const lags = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 2, 5, 10];

export function createWatchingMetrics(registry: Registry): WatchingMetrics {
  const ids = new Histogram(registry, {
    name: "status_poll_ids",
    help: "Ids that the poller asked for in one tick. Its count is the number of ticks.",
    buckets: perTick,
  }).series({});
  const rows = new Histogram(registry, {
    name: "status_poll_rows",
    help: "Statuses that the poller got in one tick.",
    buckets: perTick,
  }).series({});
  const statements = new Histogram(registry, {
    name: "status_poll_statements",
    help: "Statements that the poller sent in one tick.",
    buckets: [1, 2, 5, 10, 20, 50, 100],
  }).series({});
  const overruns = new Counter({
    name: "status_poll_overruns",
    help: "Ticks of the poller that took longer than its interval, so that the next one was late.",
    registers: [registry],
  });
  const lag = new Histogram(registry, {
    name: "status_watch_lag_seconds",
    help: "Time from the change of a status, by the updated_at of its row, until it was written to a caller that waits.",
    buckets: lags,
  }).series({});

  return {
    watchIds(count) {
      new Gauge({
        name: "status_watched_ids",
        help: "Different ids that held calls wait for: what MAX_WATCHED limits.",
        registers: [registry],
        collect() {
          this.set(count());
        },
      });
    },
    tick(tick) {
      ids.observe(tick.ids);
      rows.observe(tick.rows);
      statements.observe(tick.statements);
      if (tick.isOverrun) overruns.inc();
    },
    written: (milliseconds) => lag.observe(milliseconds / 1000),
  };
}
