import { number, table, withExtremes } from "../../report/cells.ts";
import { spread } from "../../report/spread.ts";
import type { Days } from "../days/days.ts";
import { totalBytes } from "../days/sample.ts";
import { days as dayCount, keptHours, realTime, simulatedHours } from "../plan.ts";
import type { RealTimeWindow } from "../real-time/window.ts";
import { findings, latencyRatios, warnings } from "./findings.ts";
import { dayPeaks, growth, hotShare, relations } from "./growth.ts";
import type { Report } from "./report.ts";

const megabytes = (bytes: number): string => number(bytes / 1e6, 0);
const ratio = (value: number): string => `${number(value, 2)} ×`;
const percent = (share: number): string => `${number(100 * share, 0)} %`;

/** The report in markdown. @param plot the name of the plot's file, in the same folder. */
export function markdown(report: Report, plot: string): string {
  const { plan, date, minutes, machine, versions, databaseSettings, days, compared, cpus } = report;
  const settings = Object.entries(databaseSettings).map(([name, value]) => `\`${name} = ${value}\``);
  return `# Retention, measured on ${date.slice(0, 10)}

\`npm run bench:retention${plan.isQuick ? " -- --quick" : ""}\`, ${minutes} minutes, on ${Object.values(machine).join(", ")}; Node ${versions.node}, PostgreSQL ${versions.postgresql},
service ${versions.service}. ${number(plan.rows, 0)} jobs are submitted in ${keptHours} simulated hours, and purged after as many. How it is measured: [bench/README.md](../README.md#retention).${
    plan.isQuick ? "\n\n**A quick run: it gives a first impression, not a result.**" : ""
  }

${findingsTable(report)}

${warnings(report).join(" ")}

![Sizes, dead rows and latency over the simulated days](${plot})

## The simulated days

The largest size of each day, in MB. The days took ${number((days.samples.at(-1)?.after ?? 0) / 60, 1)} minutes; ${number(days.samples.at(-1)?.deleted ?? 0, 0)} rows were purged, and
${number(vacuumsAfter(days), 0)} vacuums ended in the ${dayCount} days. ${percent(hotShare(days.samples, keptHours, simulatedHours))} of the updates were HOT. The longest batch took ${number(days.longestDelete, 2)} s.

${daysTable(days)}

## Ways to delete

${number(plan.comparedRows, 0)} jobs in ${keptHours} hours. Sizes with all indexes, in MB.

${comparedTable(compared)}

## Lookups during a purge

In real time, on the table that the days have left: ${number(realTime.inserts, 0)} jobs submitted and moved on a second, ${number(realTime.lookups, 0)} lookups a second of the service over
one protocol, in turn without a purge and with one that is at work in the whole window. Medians of ${plan.realTime.rounds} rounds of ${plan.realTime.seconds} s (with the least and the greatest); ratios within a round.

${windowsTable(report.windows)}

## Conditions

PostgreSQL: ${settings.join(", ")}; all else is its default or the schema's. CPUs: service ${cpus.server}, load generator ${cpus.generator}, PostgreSQL and producers ${cpus.database}.
`;
}

function findingsTable(report: Report): string {
  return table(
    ["", "measured", "goal", ""],
    findings(report).map(({ what, goal, isMet, ...all }) => [
      what,
      all.min === all.max ? ratio(all.median) : `${withExtremes(all, 2)} ×`,
      goal,
      isMet ? "met" : "**missed**",
    ]),
  );
}

function daysTable({ samples }: Days): string {
  const head = ["", `at ${keptHours} h`, ...Array.from({ length: dayCount }, (_, day) => `day ${day + 1}`)];
  const rows = relations(samples).map(({ name, sizeOf }) => [
    name,
    ...[
      Math.max(...samples.filter(({ hour }) => hour === keptHours).map(sizeOf)),
      ...dayPeaks(samples, sizeOf),
    ].map(megabytes),
    ratio(growth(samples, sizeOf)),
  ]);
  return table([...head, "last day, of the day before"], rows);
}

function vacuumsAfter({ samples }: Days): number {
  const before = samples.find(({ hour }) => hour === keptHours)?.vacuums ?? 0;
  return (samples.at(-1)?.vacuums ?? 0) - before;
}

function comparedTable(compared: readonly Days[]): string {
  const head = [
    "",
    `at ${keptHours} h`,
    "largest in the last day",
    "of that in the day before",
    "longest statement, s",
  ];
  return table(
    head,
    compared.map(({ removal, samples, longestDelete }) => [
      removal,
      megabytes(totalBytes(samples[keptHours - 1] as (typeof samples)[number])),
      megabytes(dayPeaks(samples, totalBytes).at(-1) ?? Number.NaN),
      ratio(growth(samples, totalBytes)),
      longestDelete === 0 ? "" : number(longestDelete, 2),
    ]),
  );
}

function windowsTable(windows: readonly RealTimeWindow[]): string {
  const head = [
    "",
    "p50 ms",
    "p99 ms",
    "p50 ratio",
    "p99 ratio",
    "rows purged/s",
    "a vacuum runs",
    "database",
  ];
  const rows = (["rest", "grpc"] as const).flatMap((protocol) =>
    [undefined, ...realTime.batches].map((batch) => {
      const these = windows.filter((each) => each.protocol === protocol && each.purge?.batch === batch);
      const of = (figure: (window: RealTimeWindow) => number, digits: number): string =>
        withExtremes(spread(these.map(figure)), digits);
      const compare = (latency: "p50" | "p99"): string =>
        batch === undefined
          ? ""
          : withExtremes(spread(latencyRatios(windows, { protocol, batch }, latency)), 2);
      return [
        `${protocol === "rest" ? "REST" : "gRPC"}, ${batch === undefined ? "without" : `batches of ${number(batch, 0)}`}`,
        of(({ result }) => result.latency.p50, 2),
        of(({ result }) => result.latency.p99, 2),
        compare("p50"),
        compare("p99"),
        batch === undefined ? "" : of(({ purge }) => purge?.rate ?? Number.NaN, 0),
        percent(spread(these.map(({ vacuum }) => vacuum)).median),
        percent(spread(these.map(({ result: { cpu, seconds } }) => cpu.database / seconds)).median),
      ];
    }),
  );
  return table(head, rows);
}
