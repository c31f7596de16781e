import { describe, expect, test } from "vitest";
import type { PhaseResult } from "../../bench/load/phase.ts";
import { startClock } from "../../bench/retention/days/clock.ts";
import type { Days } from "../../bench/retention/days/days.ts";
import { type Sample, totalBytes } from "../../bench/retention/days/sample.ts";
import {
  chunksPerHour,
  failing,
  goals,
  jobsPerChunk,
  jobsPerHour,
  keptHours,
  makePlan,
  realTime,
  simulatedHours,
} from "../../bench/retention/plan.ts";
import type { PurgeWindow, RealTimeWindow } from "../../bench/retention/real-time/window.ts";
import { findings, latencyRatios, warnings } from "../../bench/retention/report/findings.ts";
import { dayPeaks, growth, hotShare } from "../../bench/retention/report/growth.ts";
import { markdown } from "../../bench/retention/report/markdown.ts";
import type { Report } from "../../bench/retention/report/report.ts";
import { niceCeiling, svg } from "../../bench/retention/report/svg.ts";

const hourMs = 3_600_000;

/** A table that grows for 25 hours and on the first day, and then keeps its size, but for what is said. */
function daysOf(megabytes: (hour: number) => number = (hour) => Math.min(hour, 30)): Days {
  const samples = Array.from({ length: simulatedHours }, (_, index): Sample => {
    const hour = index + 1;
    return {
      hour,
      after: hour,
      deleted: Math.max(0, hour - keptHours),
      table: 1e6 * megabytes(hour),
      indexes: { memory_job_pkey: 5e5 * megabytes(hour), memory_job_created_at: 1e5 },
      dead: 1_000,
      updates: 100 * hour,
      hotUpdates: hour <= keptHours ? 10 * hour : 250 + 40 * (hour - keptHours),
      vacuums: hour,
      lookups: { p50: 0.1, p99: 0.3 },
    };
  });
  return { removal: "purge", rows: 1_000_000, samples, longestDelete: 0.25 };
}

function windowOf(
  round: number,
  protocol: RealTimeWindow["protocol"],
  latency: { p50: number; p99: number },
  purge?: RealTimeWindow["purge"],
): RealTimeWindow {
  const result = {
    latency: { ...latency, p90: 1, p999: 9 },
    cpu: { server: 1, database: 1, generator: 1, others: 0.5 },
    seconds: 5,
  } as PhaseResult;
  return { round, protocol, result, inserts: realTime.inserts, vacuum: 0, ...(purge && { purge }) };
}

const [batch, smallBatch] = realTime.batches;

function purgeOf(rate: number, of: number = batch): RealTimeWindow["purge"] {
  return { batch: of, rows: 5 * rate, batches: rate / 1_000, rate, isWhole: true };
}

/** Each round's p99 is 2 ms without a purge and in small batches, and as many times that with the default ones as is said. */
function windowsOf(ratios: readonly number[], rate: number): RealTimeWindow[] {
  return (["rest", "grpc"] as const).flatMap((protocol) =>
    ratios.flatMap((ratio, round) => [
      windowOf(round, protocol, { p50: 1, p99: 2 }),
      windowOf(round, protocol, { p50: 1.5, p99: 2 * ratio }, purgeOf(rate)),
      windowOf(round, protocol, { p50: 1, p99: 2 }, purgeOf(4_000, smallBatch)),
    ]),
  );
}

describe("the clock of the simulated days", () => {
  const now = Date.parse("2026-11-27T12:00:00Z");
  const clock = startClock(simulatedHours, now);

  test("ends when it begins by the real one", () => {
    expect(clock.epoch + simulatedHours * 3600).toBe(now / 1000);
  });

  test.for([0, 30, simulatedHours])("tells the real age of what is 25 h old at hour %i", (hour) => {
    const cutoff = now - clock.olderThan(hour * 3600, now);
    expect(cutoff / 1000).toBe(clock.epoch + (hour - keptHours) * 3600);
  });

  test("takes in the real time that passes, and never purges what is younger than 24 hours by the real clock", () => {
    const later = now + hourMs;
    expect(clock.olderThan(0, later) - clock.olderThan(0, now)).toBe(hourMs);
    expect(clock.olderThan(simulatedHours * 3600, now)).toBe(keptHours * hourMs);
    expect(keptHours).toBeGreaterThanOrEqual(24);
  });
});

test.for([
  true,
  false,
])("each chunk begins with a job that fails, and has whole jobs: quick is %s", (isQuick) => {
  const { rows, comparedRows } = makePlan({ isQuick });
  for (const each of [rows, comparedRows]) {
    expect(jobsPerChunk(each) % failing).toBe(0);
    expect(jobsPerChunk(each) * chunksPerHour).toBe(jobsPerHour(each));
  }
});

describe("growth", () => {
  test("is the last day's largest size, of that of the day before", () => {
    const { samples } = daysOf((hour) => (hour <= keptHours + 48 ? 20 : 30));
    expect(dayPeaks(samples, ({ table }) => table)).toEqual([20e6, 20e6, 30e6]);
    expect(growth(samples, ({ table }) => table)).toBe(1.5);
  });

  test("takes the largest size of a day, and not the one at its end", () => {
    const { samples } = daysOf((hour) => (hour === keptHours + 40 ? 25 : 20));
    expect(dayPeaks(samples, ({ table }) => table)).toEqual([20e6, 25e6, 20e6]);
  });

  test("is of the table and all its indexes together", () => {
    const [first] = daysOf().samples;
    expect(totalBytes(first as Sample)).toBe(1e6 + 5e5 + 1e5);
  });
});

test("the share of HOT updates is that of the updates between two hours", () => {
  expect(hotShare(daysOf().samples, keptHours, simulatedHours)).toBeCloseTo(0.4);
});

describe("findings", () => {
  test("compare the windows of one round", () => {
    const windows = [
      windowOf(0, "rest", { p50: 1, p99: 2 }),
      windowOf(0, "rest", { p50: 1, p99: 3 }, purgeOf(10_000)),
      windowOf(1, "rest", { p50: 2, p99: 8 }, purgeOf(10_000)),
      windowOf(1, "rest", { p50: 1, p99: 4 }),
      windowOf(0, "grpc", { p50: 1, p99: 1 }),
    ];
    expect(latencyRatios(windows, { protocol: "rest", batch }, "p99")).toEqual([1.5, 2]);
    expect(latencyRatios(windows, { protocol: "rest", batch: smallBatch }, "p99")).toEqual([]);
    expect(latencyRatios(windows, { protocol: "rest", batch }, "p50")).toEqual([1, 2]);
    expect(latencyRatios(windows, { protocol: "grpc", batch }, "p99")).toEqual([]);
  });

  const missed = (days: Days, windows: RealTimeWindow[]): string[] =>
    findings({ compared: [], days, windows }).flatMap(({ isMet, what }) => (isMet ? [] : [what]));

  test("are met by a table that keeps its size, the same latency, and a purge that keeps up", () => {
    expect(missed(daysOf(), windowsOf([1, 1.2, 1.9], goals.rate * realTime.inserts))).toEqual([]);
  });

  test("are missed by a table that grows, by the relations that do", () => {
    expect(
      missed(
        daysOf((hour) => hour),
        windowsOf([1], 10_000),
      ),
    ).toEqual([
      expect.stringMatching(/: memory_job$/),
      expect.stringMatching(/: memory_job_pkey$/),
      expect.stringMatching(/: all of it$/),
    ]);
  });

  test("are missed by a higher latency in most rounds, and by a purge that is slower than the inserts", () => {
    expect(missed(daysOf(), windowsOf([1, 1.3, 1.4], realTime.inserts - 1))).toEqual([
      expect.stringMatching(/p99.*REST, batches of 5000$/),
      expect.stringMatching(/p99.*gRPC, batches of 5000$/),
      expect.stringMatching(/rows purged.*batches of 5000$/),
    ]);
  });

  test("warn of producers that were late, and of a purge that was over before its window", () => {
    const [first, second, ...rest] = windowsOf([1], 10_000) as [RealTimeWindow, RealTimeWindow];
    const over = {
      ...second,
      purge: { ...(second.purge as PurgeWindow), isWhole: false },
    };
    const measured = { compared: [], days: daysOf(), windows: [{ ...first, inserts: 1_000 }, over, ...rest] };
    expect(warnings(measured)).toEqual([
      expect.stringMatching(/^In 1 windows, purge had nothing left/),
      expect.stringMatching(/^In 1 windows, the producers/),
      expect.stringMatching(/up to 10 % of a CPU/),
    ]);
  });
});

describe("the report", () => {
  const report: Report = {
    plan: makePlan({ isQuick: true }),
    date: "2026-11-27T12:00:00.000Z",
    minutes: 5,
    cpus: { server: "0", generator: "1", database: "0,1" },
    machine: { cpu: "a CPU" },
    versions: { node: "26", postgresql: "18", service: "abc" },
    databaseSettings: { fsync: "on" },
    compared: [daysOf(), { ...daysOf((hour) => hour), removal: "nothing is deleted", longestDelete: 0 }],
    days: daysOf(),
    windows: windowsOf([1, 1.5, 2], 10_000),
  };

  test("has each finding, each relation, each way to delete, and the latencies", () => {
    const text = markdown(report, "plot.svg");
    expect(text).toContain(
      "| lookups' p99 during a purge, of p99 without: REST, batches of 5000 | 1.50 (1.00 to 2.00) × | at most 1.2 × | **missed** |",
    );
    expect(text).toContain(
      "| rows purged a second, of those inserted: batches of 500 | 2.00 × | at least 1 × | met |",
    );
    expect(text).toContain("| memory_job | 25 | 30 | 30 | 30 | 1.00 × |");
    expect(text).toContain("| purge | 38 | 45 | 1.00 × | 0.25 |");
    expect(text).toContain("| nothing is deleted | 38 | 146 | 1.33 × |  |");
    expect(text).toContain("| gRPC, batches of 5,000 | 1.50 (1.50 to 1.50) | 3.00 (2.00 to 4.00) |");
    expect(text).toContain("| REST, without | 1.00 (1.00 to 1.00) | 2.00 (2.00 to 2.00) |");
    expect(text).toContain("![Sizes, dead rows and latency over the simulated days](plot.svg)");
    expect(text).not.toMatch(/NaN|undefined|Infinity/);
  });

  test("has a plot with a curve for each of them", () => {
    const text = svg(report);
    // Four of sizes, dead rows, two percentiles, and one for each way to delete.
    expect(text.match(/<polyline /g)).toHaveLength(4 + 1 + 2 + 2);
    expect(text).not.toMatch(/NaN|undefined|Infinity/);
  });

  test.for([
    [0.3, 0.5],
    [1, 1],
    [173, 200],
    [2_100, 5_000],
  ] as const)("scales %d up to %d", ([value, top]) => {
    expect(niceCeiling(value)).toBe(top);
  });
});
