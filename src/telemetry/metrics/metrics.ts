import { collectDefaultMetrics, Registry } from "prom-client";
import type { WatchingMetrics } from "../../status/watching/watching-metrics.ts";
import { type CallMetrics, createCallMetrics } from "./calls.ts";
import { createDatabaseMetrics, type DatabaseMetrics } from "./database.ts";
import { createHeldMetrics, type HeldMetrics } from "./held.ts";
import { createPurgeMetrics, type PurgeMetrics } from "./purge.ts";
import { createReplicaMetrics, type ReplicaMetrics } from "./replica.ts";
import { createServiceMetrics, type ServiceMetrics } from "./service.ts";
import { createWatchingMetrics } from "./watching.ts";

export interface Metrics
  extends CallMetrics,
    DatabaseMetrics,
    HeldMetrics,
    PurgeMetrics,
    ReplicaMetrics,
    ServiceMetrics,
    WatchingMetrics {
  readonly contentType: string;
  /** @returns all metrics as OpenMetrics text. */
  text(): Promise<string>;
}

/**
 * Names follow the rules of Prometheus and OpenTelemetry's conventions for RPC servers and database clients. Every label has a
 * fixed set of values: none that a caller could make up.
 */
export function createMetrics(version: string): Metrics {
  const registry = new Registry();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
  collectDefaultMetrics({ register: registry });
  return {
    ...createServiceMetrics(registry, version),
    ...createCallMetrics(registry),
    ...createHeldMetrics(registry),
    ...createWatchingMetrics(registry),
    ...createDatabaseMetrics(registry),
    ...createReplicaMetrics(registry),
    ...createPurgeMetrics(registry),
    contentType: registry.contentType,
    text: () => registry.metrics(),
  };
}
