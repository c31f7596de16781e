import type { PhaseResult } from "../load/phase.ts";
import { cpuNumbers } from "../machine.ts";
import type { Load, Plan } from "../plan.ts";
import type { Measured } from "../round.ts";
import { micros, middle, number, percent, range, table } from "./cells.ts";
import { disturbance, taken } from "./disturbance.ts";
import { perCpuSecond, perSecond } from "./figures.ts";
import { findingsTable } from "./findings-table.ts";
import { keepsRate } from "./kept-rate.ts";
import type { Report } from "./report.ts";
import type { Series } from "./series.ts";

/** The report in markdown. @param plot the name of the plot's file, in the same folder. */
export function markdown(report: Report, plot: string): string {
  const parts = [
    heading(report),
    `![The figures as a plot](${plot})`,
    findingsTable(report),
    saturationTable(report),
    ...loadTables(report),
    serialTable(report),
    startTable(report),
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
  return plan.loads.map((load, index) => {
    const of = ({ loads }: Measured): PhaseResult => loads[index] as PhaseResult;
    const { warmUp, seconds } = load;
    return `## At ${describeLoad(load)}

Warm-up ${warmUp} s, window ${seconds} s. Calls arrive at random.

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
    "sent late, p99 ms",
  ],
  series.map((each) => [
    title(each, plan),
    middle(each, (measured) => perSecond(of(measured)), 0) +
      ("rate" in load && !keepsRate(each.measured.map(of), load.rate) ? ": cannot" : ""),
    range(each, (measured) => of(measured).latency.p50, 2),
    range(each, (measured) => of(measured).latency.p99, 2),
    middle(each, (measured) => of(measured).latency.p999, 2),
    micros(each, of, "server"),
    micros(each, of, "database"),
    percent(each, (measured) => generatorAndDatabase(of(measured))),
    percent(each, (measured) => taken(of(measured))),
    middle(each, (measured) => of(measured).lateness.p50, 3),
    middle(each, (measured) => of(measured).lateness.p99, 3),
  ]),
)}`;
  });
}

function describeLoad(load: Load): string {
  return "rate" in load
    ? `${number(load.rate, 0)} calls/s, the same for all`
    : `${number(load.share * 100, 0)} % of each server's own peak`;
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

function startTable({ series, plan }: Report): string {
  return `## At rest

Start to ready: from the start of the process until a service's \`/readyz\` answers 200, or a peer's first answer is right. RSS: after
a handful of calls, before any load.

${table(
  ["server", "start to ready ms", "with an empty compile cache ms", "RSS MB"],
  series.map((each) => [
    title(each, plan),
    range(each, ({ start }) => start.readyAfter, 0),
    each.measured.every(({ start }) => start.coldReadyAfter === undefined)
      ? ""
      : range(each, ({ start }) => start.coldReadyAfter ?? Number.NaN, 0),
    range(each, ({ residentAtRest }) => residentAtRest / 1e6, 0),
  ]),
)}`;
}

function conditions({ cpus, versions, databaseSettings, skipped }: Report): string {
  const list = (entries: object): string =>
    Object.entries(entries)
      .map((entry) => entry.join(" "))
      .join(", ");
  return `## Conditions

- CPUs: server ${cpus.server} (GOMAXPROCS ${cpuNumbers(cpus.server).length}), generator ${cpus.generator}, PostgreSQL ${cpus.database}
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
