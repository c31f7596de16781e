/**
 * Where gRPC's tail comes from: `npm run bench:gc-tail`. Node's own servers with a constant answer, nothing of ours,
 * both asked 8,000 times a second, and what the garbage collector did meanwhile.
 */
import { freePort } from "../src/store/embedded.ts";
import { nodeCandidates } from "./candidates.ts";
import { checkCandidate } from "./check.ts";
import { startChild } from "./children.ts";
import { startGenerator } from "./generator.ts";
import { chooseCpus } from "./machine.ts";
import { concurrency, defaultRows } from "./plan.ts";

const cpus = chooseCpus();
for (const candidate of nodeCandidates) {
  const { name, protocol, command, constant } = candidate;
  if (constant === undefined) continue;
  const port = await freePort();
  const [node = "", ...program] = command;
  // V8 writes its trace through C's buffers, which a signal would leave behind.
  await using server = startChild(name, cpus.server, ["stdbuf", "-oL", node, "--trace-gc-nvp", ...program], {
    env: { ...process.env, PORT: `${port}` },
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

  process.stdout.write(`${name}: p50 ${latency.p50.toFixed(2)} ms, p99 ${latency.p99.toFixed(2)} ms\n`);
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
