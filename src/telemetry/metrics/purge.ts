import { Counter, Gauge, type Registry } from "prom-client";
import { Histogram } from "./histogram.ts";

/** How a purge ended. */
const outcomes = ["done", "busy", "denied", "failed", "stopped"] as const;

export type PurgeOutcome = (typeof outcomes)[number];

export interface PurgeMetrics {
  /** @returns what counts purges, which this service runs with PURGE=on alone. */
  watchPurges(): PurgeCounts;
}

export interface PurgeCounts {
  purged(rows: number): void;
  /** @param duration in milliseconds. */
  ended(outcome: PurgeOutcome, duration: number): void;
}

/** In seconds. */
const durations = [0.01, 0.1, 1, 10, 60, 600, 3_600];

export function createPurgeMetrics(registry: Registry): PurgeMetrics {
  return { watchPurges: () => watchPurges(registry) };
}

function watchPurges(registry: Registry): PurgeCounts {
  const duration = new Histogram(registry, {
    name: "status_purge_duration_seconds",
    help: "Duration of this instance's purges, by how they ended. Its count is their number.",
    buckets: durations,
  });
  const series = Object.fromEntries(outcomes.map((outcome) => [outcome, duration.series({ outcome })]));
  const rows = new Counter({
    name: "status_purge_rows",
    help: "Rows that this instance has deleted.",
    registers: [registry],
  });
  const done = new Gauge({
    name: "status_purge_last_done_timestamp_seconds",
    help: "Unix time of this instance's last purge that was done. Before the first one: of the start.",
    registers: [registry],
  });
  done.setToCurrentTime();
  return {
    purged: (count) => rows.inc(count),
    ended(outcome, milliseconds) {
      series[outcome]?.observe(milliseconds / 1_000);
      if (outcome === "done") done.setToCurrentTime();
    },
  };
}
