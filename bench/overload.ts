/** `npm run bench:overload`: four times the load that saturates the service, and hostile clients beside honest callers. */
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { freePort } from "../src/store/embedded/embedded.ts";
import { serviceCommand } from "./candidates.ts";
import { type Child, startChild } from "./children.ts";
import { residentBytes } from "./cpu.ts";
import { startDatabase } from "./database.ts";
import { type Generator, startGenerator } from "./generator.ts";
import type { Phase, PhaseResult } from "./load/phase.ts";
import { chooseCpus, describeMachine, pinRest } from "./machine.ts";
import { concurrency } from "./plan.ts";

/** The calls in flight that saturate. With 64, as in bench/run.ts, REST leaves the event loop a sixth of its time. */
const saturating = { rest: { connections: 128, streams: 1 }, grpc: concurrency.grpc } as const;

const rounds = 5;
/** In a round, of windows that are saturated and windows with four times as much, in turn. */
const pairs = 2;
/** Of the p99 and of the throughput: at most, and at least, so many times what is usual. */
const goals = { p99: 2, throughput: 0.9 };
const rows = 100_000;
/** As the contract tells callers, in milliseconds. */
const retryAfter = 1_000;
/** Of the peak: the load of honest callers beside whom others are hostile. */
const partLoad = 0.3;
/** As bench/hostile.ts knows them. */
const hostileKinds = [
  "idle connections",
  "slow sender",
  "truncated messages",
  "header flood",
  "CONTINUATION flood",
  "rapid resets",
  "gzip bombs",
  "brotli bombs",
  "never reads",
];

interface Row {
  readonly protocol: string;
  readonly load: string;
  readonly result: PhaseResult;
  readonly residentBytes: number;
  /** What it is compared with. */
  readonly usual?: Row | undefined;
}

const cpus = chooseCpus();
await using database = await startDatabase();
const table = await database.provide(rows);
await pinRest(cpus, database.pid);
const seen: Row[] = [];
for (let round = 0; round < rounds; round++) {
  for (const protocol of ["rest", "grpc"] as const) await measure(protocol);
}
await writeFile(join(import.meta.dirname, "..", "docs", "evidence", "overload.md"), document());
process.stdout.write(report());

async function measure(protocol: "rest" | "grpc"): Promise<void> {
  const port = await freePort();
  const env = { NODE_ENV: "production", HOST: "127.0.0.1", PORT: `${port}`, DATABASE_URL: table.url };
  await using server: Child = startChild("the service", cpus.server, serviceCommand, {
    env: { ...process.env, ...env },
  });
  await using generator: Generator = startGenerator(cpus.generator);
  await ready(port);
  const { connections, streams } = saturating[protocol];
  const phase: Phase = {
    ...{ protocol, port, connections, streams, rows, seed: port, answers: table.base },
    ...{ serverPid: server.pid, databasePid: database.pid, retryAfter },
    ...{ warmUp: 1, seconds: 4 },
  };
  const run = async (load: string, window: Partial<Phase> = {}, usual?: Row): Promise<Row> => {
    const result = await generator.run({ ...phase, ...window });
    const row = { protocol, load, result, residentBytes: residentBytes(server.pid), usual };
    seen.push(row);
    process.stderr.write(`${line(row)}\n`);
    return row;
  };

  const fourfold = protocol === "rest" ? { connections: 4 * connections } : { streams: 4 * streams };
  // V8 compiles what saturation makes it run.
  await generator.run({ ...phase, warmUp: 0, seconds: 4 });
  let peak = await run("saturated");
  for (let pair = 0; pair < pairs; pair++) {
    // Who was shed first asks again a second later, all together: the waves flatten.
    await run("× 4, shed callers wait 1 s", { ...fourfold, warmUp: 3 }, peak);
    peak = await run("saturated");
  }
  await run("× 4, shed callers retry at once", { ...fourfold, retryAfter: 0 }, peak);
  const rate = partLoad * perSecond(peak);
  // So long that each window has as many full collections, of which gRPC has one in seven seconds: two.
  const part = { rate, seconds: protocol === "grpc" ? 14 : 8 };
  // V8 compiles anew what it had compiled for saturation.
  await generator.run({ ...phase, rate, warmUp: 0, seconds: 8 });
  await run("30 %, honest callers alone", part);
  // A hostile peer takes its time from the CPU of the honest callers and of the database, wherever it plays: that is none of the
  // service's doing.
  const beside = async (
    kind: string,
    at: number,
    warmUp: number,
    load: string,
    usual?: Row,
  ): Promise<Row> => {
    await using hostile: Child = startHostile(kind, at);
    await Promise.race([once(hostile.process.stdout as Readable, "data"), hostile.failed]);
    return await run(load, { ...part, warmUp }, usual);
  };
  for (const kind of hostileKinds) {
    // Each has its own to be compared with, since other programs come and go.
    const usual = await beside(kind, 0, 1, "30 %, hostile clients elsewhere");
    // V8 takes seconds to compile what is run a few times a second.
    await beside(kind, port, 8, `30 %, beside: ${kind}`, usual);
  }
}

/**
 * It shares its CPU with the honest callers and the database, which are not to wait for it.
 *
 * @param port 0: it plays elsewhere.
 */
function startHostile(kind: string, port: number): Child {
  const program = [process.execPath, join(import.meta.dirname, "hostile.ts"), `${port}`, kind];
  return startChild(kind, cpus.generator, ["nice", "-n", "19", ...program], {});
}

async function ready(port: number): Promise<void> {
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    if (response?.status === 200) return;
  }
}

function line({
  protocol,
  load,
  result: { answers, shed, seconds, latency, cpu },
  residentBytes,
}: Row): string {
  const share = (100 * shed) / (answers + shed);
  return [
    `${protocol}, ${load}: ${Math.round(answers / seconds)} answers/s`,
    `p50 ${latency.p50.toFixed(1)} ms, p99 ${latency.p99.toFixed(1)} ms`,
    `${share.toFixed(1)} % shed`,
    `${Math.round(residentBytes / 2 ** 20)} MiB`,
    `server ${Math.round((100 * cpu.server) / seconds)} %, others ${Math.round((100 * cpu.others) / seconds)} % of a CPU`,
  ].join("; ");
}

/** What the run has shown, for those who do not run it. */
function document(): string {
  const { cpu, memory, kernel } = describeMachine();
  const others = Math.max(...seen.map(({ result: { cpu, seconds } }) => (100 * cpu.others) / seconds));
  return `# Overload: four times the load, and hostile clients

For those who operate the service: what overload and hostile clients cost the callers that are served. After reading, you know
which loads the service sheds without harm, and which have to be limited in front of it.

Written by \`npm run bench:overload\`; do not edit. Median of ${rounds} rounds of ${new Date().toISOString().slice(0, 10)}, on ${cpu}, ${memory}, ${kernel}, Node ${process.version}.
Other programs took up to ${others.toFixed(0)} % of a CPU in a window. How it is measured: [bench/README.md](../../bench/README.md).

The goals: with four times the calls that saturate the service, those that are admitted keep a p99 of at most ${goals.p99} × that at
saturation, at ${goals.throughput} × its throughput or more; beside one kind of hostile client, honest callers at 30 % of the peak keep a p99 of
at most ${goals.p99} × what they have while the same client attacks another server on the same CPU. MiB is the service's resident memory.

Callers that retry at once, although the answer names a delay, miss the first goal: reading a request that is shed costs Node about
as much as answering it, and these callers send several for each that is answered. The service stays up, and its memory does not grow.

${report()}`;
}

/** Medians, of the ratios too: each is to what was measured just before, in the same round. */
function report(): string {
  const lines = [
    "| protocol | load | answers/s | p99 ms | p99 ratio | throughput ratio | shed | MiB | goals |",
  ];
  lines.push("|---|---|---:|---:|---:|---:|---:|---:|---|");
  for (const protocol of ["rest", "grpc"]) {
    const of = (load: string) => seen.filter((row) => row.protocol === protocol && row.load === load);
    for (const load of new Set(seen.map((row) => row.load))) {
      const ratios = (value: (row: Row) => number) =>
        median(of(load).map((row) => value(row) / value(row.usual ?? row)));
      const values = (value: (row: Row) => number) => median(of(load).map(value));
      const areMet = ratios(p99) <= goals.p99 && ratios(perSecond) >= goals.throughput;
      const cells = [
        protocol,
        load,
        Math.round(values(perSecond)),
        values(p99).toFixed(1),
        ratios(p99).toFixed(2),
        ratios(perSecond).toFixed(2),
        `${(100 * values(({ result }) => result.shed / (result.shed + result.answers))).toFixed(1)} %`,
        Math.round(values((row) => row.residentBytes) / 2 ** 20),
        of(load)[0]?.usual === undefined ? "" : areMet ? "met" : "not met",
      ];
      lines.push(`| ${cells.join(" | ")} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function p99({ result }: Row): number {
  return result.latency.p99;
}

function perSecond({ result }: Row): number {
  return result.answers / result.seconds;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (index: number) => sorted[index] ?? Number.NaN;
  return (at((sorted.length - 1) >> 1) + at(sorted.length >> 1)) / 2;
}
