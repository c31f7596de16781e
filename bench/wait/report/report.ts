import type { FloorResult } from "../measure/floors.ts";
import type { LookupWindow } from "../measure/lookups.ts";
import type { PollingResult } from "../measure/polling.ts";
import type { WayResult } from "../measure/way.ts";

/** All figures of a run. */
export interface Measured {
  readonly floors: readonly FloorResult[];
  readonly polling: readonly PollingResult[];
  readonly ways: readonly WayResult[];
  readonly lookups: readonly LookupWindow[];
}

/** A run in which everything was measured, with its circumstances. */
export interface Report extends Measured {
  readonly date: string;
  readonly minutes: number;
  readonly machine: Record<string, string>;
  readonly versions: Record<string, string>;
}

/** The polling that a way to wait is compared with. */
export function pollingFor(
  { protocol, distinct }: Pick<WayResult, "protocol" | "distinct">,
  polling: readonly PollingResult[],
): PollingResult | undefined {
  return polling.find((each) => each.protocol === protocol && each.distinct === distinct);
}

/** @param part from 0 to 1. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
}
