import type { PhaseResult } from "../load/phase.ts";
import type { Plan } from "../plan.ts";
import type { Measured } from "../round.ts";
import { micros, middle, number, percent, range, table } from "./cells.ts";
import { disturbance, taken } from "./disturbance.ts";
import type { Report } from "./report.ts";
import type { Series } from "./series.ts";
import { perCpuSecond, perSecond } from "./summary.ts";

/** The report in markdown. @param plot the name of the plot's file, in the same folder. */
export function markdown(report: Report, plot: string): string {
  const parts = [
    heading(report),
    `![The figures as a plot](${plot})`,
    findingsTable(report),
    saturationTable(report),
    ...loadTables(report),
    serialTable(report),
    conditions(report),
  ];
  return `${parts.join("\n\n")}\n`;
}

function heading({ plan, date, minutes, command, machine, series }: Report): string {
  const rounds =
    plan.rounds === 1
      ? "one round"
      : `median of ${plan.rounds} interleaved rounds (with the least and the greatest)`;
  const warnings = [];
  if (plan.quick) {
    warnings.push(
      "A quick run: short windows after a short warm-up. It gives a first impression, not a result.",
    );
  }
  const disturbed = disturbance(
    series.flatMap(({ measured }) => measured.map(({ saturation }) => saturation)),
  );
  if (disturbed !== undefined) warnings.push(disturbed);
  return [
    `# Benchmark of ${date.slice(0, 10)}`,
    `${number(plan.rows, 0)} rows, ${rounds}, \`${command}\`, ${minutes} minutes, on ${machine.cpu}, ${machine.memory}, ${machine.kernel}.`,
    ...warnings.map((warning) => `**${warning}**`),
  ].join("\n\n");
}

function findingsTable({ findings }: Report): string {
  return `## The service compared

Ratios are taken within each round; the table gives the median of the rounds.

${table(
  ["", "median", "least to greatest"],
  findings.map(({ what, unit, median, min, max }) => {
    const digits = median < 0.1 ? 3 : 2;
    return [what, `${median.toFixed(digits)} ${unit}`, `${min.toFixed(digits)} to ${max.toFixed(digits)}`];
  }),
)}`;
}

function saturationTable({ series, plan, concurrency: { rest, grpc } }: Report): string {
  const of = ({ saturation }: Measured): PhaseResult => saturation;
  return `## At saturation

REST over ${rest.connections} connections with one request each, gRPC over ${grpc.connections} connections with ${grpc.streams} calls each. Warm-up ${plan.saturation.warmUp} s, window ${plan.saturation.seconds} s.

${table(
  [
    "server",
    "answers per server CPU second",
    "answers/s",
    "server µs",
    "database µs",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "server's core",
    "generator and database",
    "other programs",
    "RSS MB",
    "statements per answer",
  ],
  series.map((each) => [
    title(each, plan),
    range(each, ({ saturation }) => perCpuSecond(saturation), 0),
    range(each, ({ saturation }) => perSecond(saturation), 0),
    micros(each, of, "server"),
    micros(each, of, "database"),
    middle(each, ({ saturation }) => saturation.latency.p50, 2),
    middle(each, ({ saturation }) => saturation.latency.p99, 2),
    middle(each, ({ saturation }) => saturation.latency.p999, 2),
    percent(each, ({ saturation: { cpu, seconds } }) => cpu.server / seconds),
    percent(each, ({ saturation }) => generatorAndDatabase(saturation)),
    percent(each, ({ saturation }) => taken(saturation)),
    middle(each, ({ residentBytes }) => residentBytes / 1e6, 0),
    middle(each, ({ statementsPerAnswer }) => statementsPerAnswer, 3),
  ]),
)}`;
}

function loadTables({ series, plan }: Report): string[] {
  return plan.loads.map(({ share, warmUp, seconds }, index) => {
    const of = ({ loads }: Measured): PhaseResult => loads[index] as PhaseResult;
    return `## At ${number(share * 100, 0)} % of each server's own peak

Warm-up ${warmUp} s, window ${seconds} s.

${table(
  [
    "server",
    "answers/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "server µs",
    "database µs",
    "generator and database",
    "other programs",
    "sent late, p50 ms",
  ],
  series.map((each) => [
    title(each, plan),
    middle(each, (measured) => perSecond(of(measured)), 0),
    range(each, (measured) => of(measured).latency.p50, 2),
    range(each, (measured) => of(measured).latency.p99, 2),
    middle(each, (measured) => of(measured).latency.p999, 2),
    micros(each, of, "server"),
    micros(each, of, "database"),
    percent(each, (measured) => generatorAndDatabase(of(measured))),
    percent(each, (measured) => taken(of(measured))),
    middle(each, (measured) => of(measured).lateness.p50, 2),
  ]),
)}`;
  });
}

function serialTable({ series, plan }: Report): string {
  return `## One connection, one call after the other

${table(
  ["server", "p50 ms", "p99 ms"],
  series.map((each) => [
    title(each, plan),
    range(each, ({ serial }) => serial.latency.p50, 3),
    middle(each, ({ serial }) => serial.latency.p99, 3),
  ]),
)}`;
}

function conditions({ cpus, versions, databaseSettings, skipped }: Report): string {
  const list = (entries: object): string =>
    Object.entries(entries)
      .map((entry) => entry.join(" "))
      .join(", ");
  return `## Conditions

- CPUs: server ${cpus.server}, generator ${cpus.generator}, PostgreSQL ${cpus.database}
- Versions: ${list(versions)}
- PostgreSQL: ${list(databaseSettings)}; otherwise its defaults
- Skipped: ${skipped.length === 0 ? "nothing" : skipped.join("; ")}`;
}

function title({ candidate, table: { rows } }: Series, plan: Plan): string {
  const protocol = candidate.protocol === "rest" ? "REST" : "gRPC";
  return `${protocol}: ${candidate.name}${rows === plan.rows ? "" : `, ${number(rows, 0)} rows`}`;
}

/** In CPUs. */
function generatorAndDatabase({ cpu, seconds }: PhaseResult): number {
  return (cpu.generator + cpu.database) / seconds;
}
