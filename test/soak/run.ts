import { duration } from "../../src/config/kinds.ts";
import { type Level, soak } from "./soak.ts";

/** How much more a service may hold at the end. Memory after garbage collection, in bytes. */
const heapBound = 16 * 2 ** 20;
const filesBound = 16;

const [, , wanted = "10m"] = process.argv;
const lasting = duration.read(wanted);
if (lasting === undefined) {
  process.stderr.write(`soak takes ${duration.takes}: it got ${JSON.stringify(wanted)}\n`);
  process.exit(2);
}

const stopping = new AbortController();
const timer = setTimeout(() => stopping.abort(), lasting);
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => stopping.abort());
process.stdout.write(`soaking for ${wanted}; Ctrl-C ends it sooner\n`);
const startedAt = performance.now();
const result = await soak(stopping.signal);
clearTimeout(timer);

const { before, after } = result;
const broken = [
  ...result.complaints,
  ...(after.heap - before.heap > heapBound ? ["memory was not given back"] : []),
  ...(after.files - before.files > filesBound ? ["handles were not given back"] : []),
];
const count = (number: number) => number.toLocaleString("en");
const mb = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MB`;
const change = (show: (level: Level) => string | number) =>
  `${show(before)} at the start, ${show(after)} at the end`;
process.stdout.write(
  `${[
    ...broken.slice(0, 20).map((complaint) => `BROKEN: ${complaint}`),
    `${Math.round((performance.now() - startedAt) / 1_000)} s, ${result.faults} faults, ${result.restarts} graceful restarts`,
    `calls made: ${count(result.calls)} (${count(result.failed)} failed as documented while the database was broken, ${result.late} late)`,
    `wrong answers: ${result.wrong}`,
    `calls lost on graceful restart: ${result.lost} of ${count(result.callsDuringRestarts)}`,
    `memory: resident ${change(({ resident }) => mb(resident))}; heap ${change(({ heap }) => mb(heap))}`,
    `handles: ${change(({ files }) => files)}`,
  ].join("\n")}\n`,
);
process.exitCode = result.wrong + result.lost + broken.length > 0 ? 1 : 0;
