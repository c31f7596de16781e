import { spread } from "../../report/spread.ts";
import { goals, realTime } from "../plan.ts";
import type { RealTimeWindow } from "../real-time/window.ts";
import { growth, relations } from "./growth.ts";
import type { Measured } from "./report.ts";

/** A figure that has a goal. */
export interface Finding {
  readonly what: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly goal: string;
  readonly isMet: boolean;
}

export function findings({ days, windows }: Measured): Finding[] {
  return [
    ...relations(days.samples).map(({ name, sizeOf }) => {
      const ratio = growth(days.samples, sizeOf);
      return atMost(
        `largest size in the last day, of that in the day before: ${name}`,
        [ratio],
        goals.growth,
      );
    }),
    ...realTime.batches.flatMap((batch) => [
      ...(["rest", "grpc"] as const).map((protocol) =>
        atMost(
          `lookups' p99 during a purge, of p99 without: ${protocol === "rest" ? "REST" : "gRPC"}, batches of ${batch}`,
          latencyRatios(windows, { protocol, batch }, "p99"),
          goals.p99,
        ),
      ),
      rateFinding(windows, batch),
    ]),
  ];
}

/** For each round, a latency during a purge, of that without. */
export function latencyRatios(
  windows: readonly RealTimeWindow[],
  { protocol, batch }: { readonly protocol: RealTimeWindow["protocol"]; readonly batch: number },
  of: "p50" | "p99",
): number[] {
  const these = windows.filter((each) => each.protocol === protocol);
  return these
    .filter(({ purge }) => purge?.batch === batch)
    .map(({ round, result }) => {
      const without = these.find((each) => each.round === round && each.purge === undefined);
      return result.latency[of] / (without?.result.latency[of] ?? Number.NaN);
    });
}

function rateFinding(windows: readonly RealTimeWindow[], batch: number): Finding {
  const rates = windows.flatMap(({ purge }) =>
    purge?.batch === batch ? [purge.rate / realTime.inserts] : [],
  );
  const all = spread(rates);
  const isMet = all.median >= goals.rate;
  return {
    what: `rows purged a second, of those inserted: batches of ${batch}`,
    ...all,
    goal: `at least ${goals.rate} ×`,
    isMet,
  };
}

function atMost(what: string, values: readonly number[], most: number): Finding {
  const all = spread(values);
  return { what, ...all, goal: `at most ${most} ×`, isMet: all.median <= most };
}

/** @returns what a reader must know before relying on the figures. */
export function warnings({ windows }: Measured): string[] {
  const short = windows.filter(({ purge }) => purge?.isWhole === false).length;
  const others = Math.max(...windows.map(({ result: { cpu, seconds } }) => cpu.others / seconds));
  const slow = windows.filter(({ inserts }) => inserts < 0.95 * realTime.inserts).length;
  return [
    ...(short > 0 ? [`In ${short} windows, purge had nothing left to delete before the end.`] : []),
    ...(slow > 0 ? [`In ${slow} windows, the producers did not keep their rate.`] : []),
    `Processes other than the service, PostgreSQL and the load generator took up to ${(100 * others).toFixed(0)} % of a CPU; those that write and purge are among them.`,
  ];
}
