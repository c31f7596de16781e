/** `npm run bench:overload`: four times the load that saturates the service, and hostile clients beside honest callers. */
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { freePort } from "../src/store/embedded/embedded.ts";
import { thisCheckout } from "./checkout.ts";
import { type Child, startChild } from "./children.ts";
import { residentBytes } from "./cpu.ts";
import { startDatabase } from "./database.ts";
import { type Generator, startGenerator } from "./generator.ts";
import type { Phase } from "./load/phase.ts";
import { chooseCpus, describeMachine, pinRest } from "./machine.ts";
import { attacks } from "./overload/attacks.ts";
import { goals, overloadTable } from "./overload/table.ts";
import { describeWindow, perSecond, type Window } from "./overload/window.ts";
import { concurrency } from "./plan.ts";

/** The concurrent calls at saturation. With 64, as in bench/run.ts, REST leaves the event loop idle a sixth of the time. */
const saturating = { rest: { connections: 128, streams: 1 }, grpc: concurrency.grpc } as const;

const rounds = 5;
/** The pairs of a window at saturation and one with four times as many calls, in each round. */
const pairs = 2;
const rows = 100_000;
/** The delay that the contract asks of shed callers, in milliseconds. */
const retryAfter = 1_000;
/** The load of the honest callers beside a hostile client, as a share of the peak. */
const partLoad = 0.3;

const cpus = chooseCpus();
await using database = await startDatabase();
const table = await database.provide(rows);
await pinRest(cpus, database.pid);
const windows: Window[] = [];
for (let round = 0; round < rounds; round++) {
  for (const protocol of ["rest", "grpc"] as const) await measure(protocol);
}
await writeFile(join(import.meta.dirname, "..", "docs", "evidence", "overload.md"), document());
process.stdout.write(overloadTable(windows));

async function measure(protocol: "rest" | "grpc"): Promise<void> {
  const port = await freePort();
  const env = { NODE_ENV: "production", HOST: "127.0.0.1", PORT: `${port}`, DATABASE_URL: table.url };
  await using server: Child = startChild("the service", cpus.server, thisCheckout.serve, {
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
  const run = async (load: string, change: Partial<Phase> = {}, comparedWith?: Window): Promise<Window> => {
    const result = await generator.run({ ...phase, ...change });
    const window = { protocol, load, result, residentBytes: residentBytes(server.pid), comparedWith };
    windows.push(window);
    process.stderr.write(`${describeWindow(window)}\n`);
    return window;
  };

  const fourfold = protocol === "rest" ? { connections: 4 * connections } : { streams: 4 * streams };
  // Warm-up: V8 optimizes the code that runs at saturation.
  await generator.run({ ...phase, warmUp: 0, seconds: 4 });
  let peak = await run("saturated");
  for (let pair = 0; pair < pairs; pair++) {
    // The first callers that were shed call again together a second later. These waves flatten within the warm-up.
    await run("× 4, shed callers wait 1 s", { ...fourfold, warmUp: 3 }, peak);
    peak = await run("saturated");
  }
  await run("× 4, shed callers retry at once", { ...fourfold, retryAfter: 0 }, peak);
  const rate = partLoad * perSecond(peak);
  // Long enough for two full collections in each window: gRPC has one in seven seconds.
  const part = { rate, seconds: protocol === "grpc" ? 14 : 8 };
  // V8 recompiles the code that it had optimized for saturation.
  await generator.run({ ...phase, rate, warmUp: 0, seconds: 8 });
  await run("30 %, honest callers alone", part);
  // A hostile client takes CPU from the honest callers and the database, whichever server it attacks. The window with the
  // client elsewhere shows that part, so that the ratio shows the service's.
  const beside = async (
    attack: string,
    attackedPort: number,
    warmUp: number,
    load: string,
    comparedWith?: Window,
  ): Promise<Window> => {
    await using client: Child = startHostile(attack, attackedPort);
    await Promise.race([once(client.process.stdout as Readable, "data"), client.failed]);
    return await run(load, { ...part, warmUp }, comparedWith);
  };
  for (const attack of Object.keys(attacks)) {
    // Each attack has a window of its own to be compared with, since the load of other programs changes.
    const elsewhere = await beside(attack, 0, 1, "30 %, hostile clients elsewhere");
    // V8 takes seconds to optimize code that runs only a few times a second.
    await beside(attack, port, 8, `30 %, beside: ${attack}`, elsewhere);
  }
}

/**
 * Starts a hostile client on the CPU of the honest callers and the database, with the lowest priority so that they need not
 * wait for it.
 *
 * @param port 0: the client attacks a server of its own.
 */
function startHostile(attack: string, port: number): Child {
  const program = [process.execPath, join(import.meta.dirname, "hostile.ts"), `${port}`, attack];
  return startChild(attack, cpus.generator, ["nice", "-n", "19", ...program], {});
}

async function ready(port: number): Promise<void> {
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    if (response?.status === 200) return;
  }
}

/** The page for those who operate the service. */
function document(): string {
  const { cpu, memory, kernel } = describeMachine();
  const others = Math.max(...windows.map(({ result: { cpu, seconds } }) => (100 * cpu.others) / seconds));
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

${overloadTable(windows)}`;
}
