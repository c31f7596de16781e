import type { FloorResult } from "../measure/floors.ts";
import type { LookupWindow } from "../measure/lookups.ts";
import type { PollingResult } from "../measure/polling.ts";
import type { WayResult } from "../measure/way.ts";
import { percentile } from "./report.ts";

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const ms = (milliseconds: number): string => `${milliseconds.toFixed(0)} ms`;

/** A result in one line, for the terminal. */
export function describePolling({ protocol, distinct, server, database, others }: PollingResult): string {
  return `polling, ${protocol}, ${distinct} jobs: server ${percent(server)}, database ${percent(database)}, others ${percent(others)}`;
}

/** A result in a few lines, for the terminal. */
export function describeWay({ way, distinct, memory, quiet, latencies }: WayResult): string {
  const costs = quiet.map(
    ({ age, window: { server, database, others, ticks, idsPerTick } }) =>
      `  ${age}: server ${percent(server)}, database ${percent(database)}, others ${percent(others)}, ` +
      `${ticks.toFixed(1)} ticks/s of ${idsPerTick.toFixed(0)} ids`,
  );
  const { resident, residentAfter, heap } = memory;
  return [
    `${way}, ${distinct} jobs: ${resident.toFixed(0)} B each (${residentAfter.toFixed(0)} B after a collection, ` +
      `${heap.toFixed(0)} B of V8's heap), p50 ${ms(percentile(latencies, 0.5))}, p99 ${ms(percentile(latencies, 0.99))}`,
    ...costs,
  ].join("\n");
}

/** A result in one line, for the terminal. */
export function describeFloor({ name, memory: { resident, residentAfter, heap } }: FloorResult): string {
  return `${name}: ${resident.toFixed(0)} B (${residentAfter.toFixed(0)} B after a collection, ${heap.toFixed(0)} B of V8's heap)`;
}

/** A result in one line, for the terminal. */
export function describeLookups({
  round,
  protocol,
  rate,
  distinct,
  latency: { p50, p99 },
}: LookupWindow): string {
  return `lookups, round ${round + 1}, ${protocol} at ${rate}/s beside ${distinct} jobs: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`;
}
