import { createReadiness, type Readiness } from "../status/readiness.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics/metrics.ts";
import type { Datastore } from "./datastore.ts";

/** Minimum time between two probes of the datastore, in milliseconds. */
const probeInterval = 500;

/** @returns the readiness of this instance, whose changes are logged and measured. */
export function readinessOf(
  { probe, isReplicaWithinBound }: Datastore,
  log: Log,
  metrics?: Metrics,
): Readiness {
  return createReadiness(probe, {
    interval: probeInterval,
    isStillDegraded: isReplicaWithinBound,
    onChange(state, err) {
      metrics?.readiness(state);
      if (state === "ready") log.info("ready");
      else if (state === "degraded") log.warn("degraded: the primary does not answer, the replica does");
      // Without a cause, this instance is draining.
      else if (err !== undefined) log.warn({ err }, "not ready");
    },
  });
}
