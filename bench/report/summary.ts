import { serviceName, uncountedName } from "../candidates.ts";
import type { PhaseResult } from "../load/phase.ts";
import { comparedLoadIndex, type Plan } from "../plan.ts";
import type { Measured } from "../round.ts";
import type { Series } from "./series.ts";
import { type Spread, spread } from "./spread.ts";

/** One figure of the service, most of them in comparison with another server. */
export interface Finding extends Spread {
  readonly what: string;
  readonly unit: string;
}

/** Answers per second of server CPU: user and system time of all the server's processes. */
export const perCpuSecond = ({ answers, cpu }: PhaseResult): number => answers / cpu.server;
export const perSecond = ({ answers, seconds }: PhaseResult): number => answers / seconds;
const cpuPerAnswer = ({ answers, cpu }: PhaseResult): number => cpu.server / answers;

const comparedServers = {
  rest: [
    uncountedName,
    "bare node:http",
    "Go net/http + pgx",
    "node:http + postgres.js",
    "node:http + pg",
    "Fastify + pg",
  ],
  grpc: [uncountedName, "bare node:http2", "grpc-go + pgx", "grpc-js + pg", "connect-node + Kysely"],
} as const;
const protocolNames = { rest: "REST", grpc: "gRPC" } as const;
const direct = "node:http + pg";

/** The figures of the service. A ratio is taken within each round; its spread is that of the rounds' ratios. */
export function findings(series: readonly Series[], plan: Plan): Finding[] {
  const atComparedLoad = ({ loads }: Measured): PhaseResult | undefined => loads[comparedLoadIndex(plan)];
  const find = (name: string, protocol: string, rows = plan.rows) =>
    series.find(
      ({ candidate, table }) =>
        candidate.name === name && candidate.protocol === protocol && table.rows === rows,
    )?.measured;

  const found: Finding[] = [];
  const add = (what: string, unit: string, values: readonly (number | undefined)[]) => {
    const known = values.filter((value) => value !== undefined);
    if (known.length > 0) found.push({ what, unit, ...spread(known) });
  };
  const addRatio = (
    what: string,
    ours: readonly Measured[],
    theirs: readonly Measured[] | undefined,
    of: (measured: Measured) => number,
  ) => {
    add(
      what,
      "×",
      ours.flatMap((each, round) => {
        const other = theirs?.[round];
        return other === undefined ? [] : [of(each) / of(other)];
      }),
    );
  };

  for (const protocol of ["rest", "grpc"] as const) {
    const ours = find(serviceName, protocol);
    if (ours === undefined) continue;
    const name = protocolNames[protocol];
    for (const server of comparedServers[protocol]) {
      const theirs = find(server, protocol);
      addRatio(`${name}: answers per server CPU second, against ${server}`, ours, theirs, ({ saturation }) =>
        perCpuSecond(saturation),
      );
      addRatio(`${name}: answers per second, against ${server}`, ours, theirs, ({ saturation }) =>
        perSecond(saturation),
      );
    }
    addRatio(
      `${name}: p50 of one serial connection, against ${direct}`,
      ours,
      find(direct, "rest"),
      ({ serial }) => serial.latency.p50,
    );
    add(
      `${name}: p99 at 30 % of the peak`,
      "ms",
      ours.map((each) => atComparedLoad(each)?.latency.p99),
    );
    add(
      `${name}: server CPU of a call at 30 % of the peak, against at the peak`,
      "×",
      ours.map((each) => {
        const part = atComparedLoad(each);
        return part && cpuPerAnswer(part) / cpuPerAnswer(each.saturation);
      }),
    );
    add(
      `${name}: statements per answer at saturation`,
      "",
      ours.map((each) => each.statementsPerAnswer),
    );
    add(
      `${name}: resident memory after saturation`,
      "MB",
      ours.map((each) => each.residentBytes / 1e6),
    );
    for (const { candidate, table, measured } of series) {
      if (candidate.name !== serviceName || candidate.protocol !== protocol || table.rows === plan.rows)
        continue;
      const what = `with ${plan.rows} rows, against ${table.rows}`;
      addRatio(`${name}: answers per second ${what}`, ours, measured, ({ saturation }) =>
        perSecond(saturation),
      );
      addRatio(`${name}: answers per server CPU second ${what}`, ours, measured, ({ saturation }) =>
        perCpuSecond(saturation),
      );
    }
  }
  return found;
}
