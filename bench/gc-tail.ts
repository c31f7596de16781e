/**
 * `npm run bench:gc-tail`: where the tail of gRPC's latency comes from. Calls Node's own HTTP/2 server, with a constant
 * answer, 8,000 times a second, and shows what the garbage collector did. Finished streams survive scavenges for two
 * reasons, and each variant removes one more:
 *
 * - V8 allocates objects from sites whose objects used to survive in old space ("pretenuring"). In a burst, streams do
 *   survive; from then on the listeners and the state of each stream are in old space, and keep the rest of the stream
 *   alive until the next full collection. `--no-allocation-site-pretenuring` prevents that.
 * - Node keeps a session's streams in a Map, whose replaced tables keep one another alive (`npm run bench:table-chain`).
 *   src/server/http2/stream-table.ts is a table that is not replaced every few changes.
 */
import { freePort } from "../src/store/embedded/embedded.ts";
import { nodeCandidates } from "./candidates.ts";
import { checkCandidate } from "./check.ts";
import { thisCheckout } from "./checkout.ts";
import { startChild } from "./children.ts";
import { startGenerator } from "./generator.ts";
import { chooseCpus } from "./machine.ts";
import { concurrency, defaultRows } from "./plan.ts";
import { readStartScript } from "./start-script.ts";

interface Variant {
  readonly title: string;
  readonly flags: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const { flags: serviceFlags } = readStartScript(thisCheckout.folder);
const variants: readonly Variant[] = [
  { title: "Node's defaults", flags: [] },
  { title: "with the service's flags", flags: serviceFlags },
  {
    title: "with the service's flags and stream table",
    flags: serviceFlags,
    env: { STREAM_TABLE: "ours" },
  },
];

const cpus = chooseCpus();
const candidate = nodeCandidates.find(({ name }) => name === "bare node:http2");
if (candidate?.constant === undefined) throw new Error("there is no baseline server for gRPC");
const { protocol, command, constant } = candidate;
for (const { title, flags, env } of variants) {
  const port = await freePort();
  const program = [process.execPath, ...flags, "--trace-gc-nvp", command.at(-1) ?? ""];
  // V8 writes its trace through C's buffered output, and the signal that ends the server would lose the last lines.
  await using server = startChild(title, cpus.server, ["stdbuf", "-oL", ...program], {
    env: { ...process.env, ...env, PORT: `${port}` },
  });
  let trace = "";
  server.process.stdout?.on("data", (text) => {
    trace += text;
  });
  await using generator = startGenerator(cpus.generator);
  await checkCandidate(candidate, port, { url: "", rows: 0, base: 0, expiredId: "" });
  const target = { port, rate: 8_000, rows: defaultRows, seed: 1, answers: constant };
  const phase = {
    protocol,
    ...concurrency[protocol],
    ...target,
    serverPid: server.pid,
    databasePid: process.pid,
  };
  await generator.run({ ...phase, warmUp: 5, seconds: 1 });
  trace = "";
  const { latency } = await generator.run({ ...phase, warmUp: 0, seconds: 10 });

  process.stdout.write(
    `node:http2, ${title}: p50 ${latency.p50.toFixed(2)} ms, p99 ${latency.p99.toFixed(2)} ms\n`,
  );
  const collections = [...trace.matchAll(/ GC: (\{.*\})/g)].map(([, json = ""]) => JSON.parse(json));
  for (const [kind, title] of Object.entries({ s: "scavenges", mc: "mark-compacts" })) {
    const these = collections.filter(({ gc }) => gc === kind);
    const longest = Math.max(0, ...these.map(({ pause }) => pause));
    const survived = these.reduce(
      (sum, { new_space_survived, promoted }) => sum + new_space_survived + promoted,
      0,
    );
    const kib = (survived / 1024 / Math.max(1, these.length)).toFixed(0);
    process.stdout.write(`  ${these.length} ${title}, longest ${longest} ms, ${kib} KiB survive each\n`);
  }
}
