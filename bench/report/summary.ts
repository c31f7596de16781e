import { isBeside, serviceName, uncountedName } from "../candidates.ts";
import type { PhaseResult } from "../load/phase.ts";
import { comparedRates, type Plan } from "../plan.ts";
import type { Measured } from "../round.ts";
import { number } from "./cells.ts";
import { cpuPerAnswer, databasePerAnswer, figuresOf, perCpuSecond, perSecond } from "./figures.ts";
import type { Series } from "./series.ts";
import { type Spread, spread } from "./spread.ts";

/** One figure of the service, most of them in comparison with another server. */
export interface Finding extends Spread {
  readonly what: string;
  readonly unit: string;
  /** The figure of the service in another checkout (`--beside`), measured in the same rounds. */
  readonly beside?: Spread;
}

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
const goServers = { rest: "Go net/http + pgx", grpc: "grpc-go + pgx" } as const;
const protocolNames = { rest: "REST", grpc: "gRPC" } as const;

/** What is found out about one server's rounds. Undefined: its run had no such measurement. */
type Of = (measured: Measured) => number | undefined;

/** The figures of the service. A ratio is taken within each round; its spread is that of the rounds' ratios. */
export function findings(series: readonly Series[], plan: Plan): Finding[] {
  return (["rest", "grpc"] as const).flatMap((protocol) => protocolFindings(protocol, series, plan));
}

function protocolFindings(protocol: "rest" | "grpc", all: readonly Series[], plan: Plan): Finding[] {
  const series = all.filter(({ candidate }) => candidate.protocol === protocol);
  const find = (name: string) =>
    series.find(({ candidate, table }) => candidate.name === name && table.rows === plan.rows)?.measured;
  const ours = find(serviceName);
  if (ours === undefined) return [];
  const beside = series.find(isBeside)?.measured;

  const found: Finding[] = [];
  const add = (what: string, unit: string, valuesOf: (service: readonly Measured[]) => number[]) => {
    const values = valuesOf(ours);
    if (values.length === 0) return;
    found.push({
      what: `${protocolNames[protocol]}: ${what}`,
      unit,
      ...spread(values),
      ...(beside !== undefined && { beside: spread(valuesOf(beside)) }),
    });
  };
  const addRatio = (what: string, theirs: readonly Measured[] | undefined, of: Of) => {
    add(what, "×", (service) => ratios(service, theirs, of));
  };
  const addFigure = (what: string, unit: string, of: Of) => {
    add(what, unit, (service) => service.flatMap((each) => of(each) ?? []));
  };

  const { atShare, atRate } = figuresOf(plan);
  const go = goServers[protocol];
  const goMeasured = find(go);
  addRatio(`serial p50, against ${go}`, goMeasured, ({ serial }) => serial.latency.p50);
  for (const rate of comparedRates) {
    const addAtRate = (what: string, of: (phase: PhaseResult) => number) => {
      addRatio(`${what} at ${number(rate, 0)} calls/s, against ${go}`, goMeasured, atRate(rate, of));
    };
    addAtRate("p50", ({ latency }) => latency.p50);
    addAtRate("p99", ({ latency }) => latency.p99);
    addAtRate("server CPU an answer", cpuPerAnswer);
    addAtRate("database CPU an answer", databasePerAnswer);
  }
  for (const server of comparedServers[protocol]) {
    const theirs = find(server);
    addRatio(`answers per server CPU second, against ${server}`, theirs, ({ saturation }) =>
      perCpuSecond(saturation),
    );
    addRatio(`answers per second, against ${server}`, theirs, ({ saturation }) => perSecond(saturation));
  }
  addFigure("database CPU an answer at saturation", "µs", ({ saturation }) => databasePerAnswer(saturation));
  addFigure(
    "p99 at 30 % of the peak",
    "ms",
    atShare(({ latency }) => latency.p99),
  );
  addFigure("server CPU of a call at 30 % of the peak, against at the peak", "×", (measured) => {
    const part = atShare(cpuPerAnswer)(measured);
    return part && part / cpuPerAnswer(measured.saturation);
  });
  addFigure("statements per answer at saturation", "", ({ statementsPerAnswer }) => statementsPerAnswer);
  addFigure("resident memory at rest", "MB", ({ residentAtRest }) => residentAtRest / 1e6);
  addFigure("resident memory after saturation", "MB", ({ residentBytes }) => residentBytes / 1e6);
  addFigure("start to ready, compile cache filled", "ms", ({ start }) => start.readyAfter);
  addFigure("start to ready, compile cache empty", "ms", ({ start }) => start.coldReadyAfter);
  const small = series.find(
    ({ candidate, table }) => candidate.name === serviceName && table.rows !== plan.rows,
  );
  if (small !== undefined) {
    const what = `with ${plan.rows} rows, against ${small.table.rows}`;
    addRatio(`answers per second ${what}`, small.measured, ({ saturation }) => perSecond(saturation));
    addRatio(`answers per server CPU second ${what}`, small.measured, ({ saturation }) =>
      perCpuSecond(saturation),
    );
  }
  return found;
}

function ratios(service: readonly Measured[], theirs: readonly Measured[] | undefined, of: Of): number[] {
  return service.flatMap((each, round) => {
    const other = theirs?.[round];
    const [ours, others] = [of(each), other && of(other)];
    return ours === undefined || others === undefined ? [] : [ours / others];
  });
}
