import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { cpuSeconds, machineCpuSeconds } from "../cpu.ts";

/** In milliseconds. */
interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
}

/** The measurements of a window. Times in seconds, but latencies and lateness in milliseconds. */
export interface Measurements {
  readonly answers: number;
  readonly shed: number;
  readonly seconds: number;
  /** `others`: all other programs of this machine, and the time that its host withheld. */
  readonly cpu: Readonly<Record<"server" | "database" | "generator" | "others", number>>;
  /** From the time that the call was scheduled for. */
  readonly latency: Percentiles;
  /** The delay of a call behind its schedule, which the generator causes. It is contained in the latency. */
  readonly lateness: Percentiles;
}

/** Counts from `begin` to `end`. */
export interface Watch {
  answered(latency: number): void;
  shed(): void;
  sent(lateness: number): void;
  begin(): void;
  end(): Measurements;
}

export function createWatch(serverPid: number, databasePid: number): Watch {
  const latency = createHistogram();
  const lateness = createHistogram();
  let answers = 0;
  let shed = 0;
  let before = now();

  function now() {
    const { user, system } = process.cpuUsage();
    return {
      at: performance.now() / 1000,
      server: cpuSeconds(serverPid),
      database: cpuSeconds(databasePid),
      generator: (user + system) / 1e6,
      machine: machineCpuSeconds(),
    };
  }

  return {
    answered(milliseconds) {
      answers++;
      record(latency, milliseconds);
    },
    shed() {
      shed++;
    },
    sent: (milliseconds) => record(lateness, milliseconds),
    begin() {
      answers = 0;
      shed = 0;
      latency.reset();
      lateness.reset();
      before = now();
    },
    end() {
      const after = now();
      const server = after.server - before.server;
      const database = after.database - before.database;
      const generator = after.generator - before.generator;
      const others = Math.max(0, after.machine - before.machine - server - database - generator);
      return {
        answers,
        shed,
        seconds: after.at - before.at,
        cpu: { server, database, generator, others },
        latency: percentiles(latency),
        lateness: percentiles(lateness),
      };
    },
  };
}

function record(histogram: RecordableHistogram, milliseconds: number): void {
  histogram.record(Math.max(1, Math.round(milliseconds * 1e6)));
}

function percentiles(histogram: RecordableHistogram): Percentiles {
  const of = (percentile: number): number => histogram.percentile(percentile) / 1e6;
  return { p50: of(50), p90: of(90), p99: of(99), p999: of(99.9) };
}
