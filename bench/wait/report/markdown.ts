import { number, table } from "../../report/cells.ts";
import { spread } from "../../report/spread.ts";
import type { LookupWindow } from "../measure/lookups.ts";
import type { WayResult } from "../measure/way.ts";
import type { QuietWindow } from "../measure/window.ts";
import { goals, plan } from "../plan.ts";
import { percentile, pollingFor, type Report } from "./report.ts";

const percent = (share: number): string => `${number(100 * share, 1)} %`;
const kilobytes = (bytes: number): string => number(bytes / 1000, 1);
const ratio = (value: number): string => `${number(value, 2)} ×`;
const count = (value: number): string => number(value, 0);

/** The report in markdown. */
export function markdown(report: Report): string {
  const { date, minutes, machine, versions } = report;
  const { clients, pollInterval, connections } = plan;
  const facts = Object.values(machine).join(", ");
  return `# Waiting, measured on ${date.slice(0, 10)}

\`npm run bench:wait\`, ${minutes} minutes, on ${facts}; Node ${versions.node}, PostgreSQL ${versions.postgresql}, service ${versions.service}.
${count(clients)} clients wait for one job each: over ${connections} connections with HTTP/2, over one each with HTTP/1.1. "Polling": as many clients,
each of which asks every ${pollInterval} s. CPU is a share of one CPU. How it is measured: [bench/README.md](../README.md). Warnings: ${disturbance(report)}.

## Ways to wait, in a job's first minute

Memory is the growth of the process for each call that waits; over HTTP/1.1 with its connection. Latency is from a commit until the last client has the status.

${waysTable(report)}

## CPU by the age of the jobs

While nothing changes. A tick reads all ids that are waited for and due. CPU per tick contains heartbeats, and what else the service did meanwhile.

${agesTable(report)}

## Polling

${table(
  ["protocol, jobs", "server", "database", "p50 ms", "p99 ms"],
  report.polling.map(({ protocol, distinct, server, database, latency: { p50, p99 } }) => [
    `${protocol}, ${count(distinct)}`,
    percent(server),
    percent(database),
    number(p50, 2),
    number(p99, 2),
  ]),
)}

## What a connection or a stream takes by itself

${table(
  ["", "KB each", "KB after a collection", "KB of V8's heap"],
  report.floors.map(({ name, memory: { resident, residentAfter, heap } }) => [
    name,
    ...[resident, residentAfter, heap].map(kilobytes),
  ]),
)}

## Plain calls beside those that wait

gRPC watches. Medians of ${plan.lookups.rounds} rounds; ratios within a round. Goal for p99: at most ${goals.lookupsP99} ×.

${lookupsTable(report.lookups)}
`;
}

function disturbance({ polling, ways }: Report): string {
  const others = [...polling, ...ways.flatMap(({ quiet }) => quiet.map(({ window }) => window))];
  return `other programs took up to ${percent(Math.max(...others.map((each) => each.others)))} of a CPU`;
}

function waysTable({ ways, polling }: Report): string {
  const head = [
    ...["way, jobs", "KB each", "KB after a collection", "KB of V8's heap", "server", "database"],
    ...["server, of polling", "database, of polling", "p50 ms", "p99 ms", "longest ms", "goals"],
  ];
  const rows = ways.flatMap((result) => {
    const { way, distinct, memory, quiet, latencies } = result;
    const window = quiet[0]?.window;
    const peer = pollingFor(result, polling);
    if (window === undefined || peer === undefined) return [];
    return [
      [
        `${way}, ${count(distinct)}`,
        ...[memory.resident, memory.residentAfter, memory.heap].map(kilobytes),
        percent(window.server),
        percent(window.database),
        ratio(window.server / peer.server),
        ratio(window.database / peer.database),
        ...[0.5, 0.99, 1].map((part) => count(percentile(latencies, part))),
        missed(result, window, peer) || "met",
      ],
    ];
  });
  return table(head, rows);
}

/** @returns the goals that a way misses. */
function missed(
  { protocol, distinct, memory, latencies }: WayResult,
  window: QuietWindow,
  peer: QuietCost,
): string {
  const cpu = goals.cpu[distinct] ?? 1;
  const checks = {
    memory: memory.residentAfter <= goals.bytes[protocol],
    "server CPU": window.server <= cpu * peer.server,
    "database CPU": window.database <= cpu * peer.database,
    p50: percentile(latencies, 0.5) <= goals.latency.p50,
    p99: percentile(latencies, 0.99) <= goals.latency.p99,
  };
  const names = Object.entries(checks).filter(([, isMet]) => !isMet);
  return names.length === 0 ? "" : `missed: ${names.map(([name]) => name).join(", ")}`;
}

type QuietCost = Pick<QuietWindow, "server" | "database">;

function agesTable({ ways, polling }: Report): string {
  const head = [
    ...["way, jobs, age", "server", "database", "server, of polling", "database, of polling"],
    ...["ticks/s", "ids a tick", "statements/s", "server ms a tick", "database ms a tick"],
  ];
  const rows = ways
    .filter(({ quiet }) => quiet.length > 1)
    .flatMap((result) =>
      result.quiet.map(({ age, window }) => {
        const peer = pollingFor(result, polling);
        const { server, database, ticks, idsPerTick, statements } = window;
        return [
          `${result.way}, ${count(result.distinct)}, ${age}`,
          percent(server),
          percent(database),
          ratio(server / (peer?.server ?? Number.NaN)),
          ratio(database / (peer?.database ?? Number.NaN)),
          number(ticks, 2),
          count(idsPerTick),
          number(statements, 1),
          number((1000 * server) / ticks, 1),
          number((1000 * database) / ticks, 1),
        ];
      }),
    );
  return table(head, rows);
}

function lookupsTable(windows: readonly LookupWindow[]): string {
  const beside = plan.distinct.flatMap((distinct) => [
    `p50 beside, ${count(distinct)} jobs`,
    `p99 beside, ${count(distinct)} jobs`,
  ]);
  const rows = (["rest", "grpc"] as const).flatMap((protocol) =>
    plan.lookups.rates.map((rate) => {
      const these = windows.filter((each) => each.protocol === protocol && each.rate === rate);
      const alone = these.filter(({ distinct }) => distinct === 0);
      const median = (of: "p50" | "p99") => number(spread(alone.map(({ latency }) => latency[of])).median, 2);
      const ratios = (of: "p50" | "p99", distinct: number) =>
        spread(
          these
            .filter((each) => each.distinct === distinct)
            .map(({ round, latency }) => {
              const same = alone.find((each) => each.round === round);
              return latency[of] / (same?.latency[of] ?? Number.NaN);
            }),
        );
      return [
        `${protocol}, ${count(rate)} calls/s`,
        median("p50"),
        median("p99"),
        ...plan.distinct.flatMap((distinct) =>
          (["p50", "p99"] as const).map((of) => {
            const { median, min, max } = ratios(of, distinct);
            return `${ratio(median)} (${number(min, 2)} to ${number(max, 2)})`;
          }),
        ),
      ];
    }),
  );
  return table(["calls", "p50 alone, ms", "p99 alone, ms", ...beside], rows);
}
