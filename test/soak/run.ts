/** `npm run soak -- [faults|fast-path] [DURATION] [--seed N]`: repeats tests with real faults or random calls for a time. */
import { parseArgs } from "node:util";
import { duration } from "../../src/config/kinds.ts";
import { compareFastPath } from "./fast-path.ts";
import { soakFaults } from "./faults.ts";

const soaks = ["faults", "fast-path"] as const;
const failuresShown = 20;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: "string" } },
});
const name = soaks.find((each) => positionals.includes(each)) ?? "faults";
const [length = "10m", ...others] = positionals.filter((each) => each !== name);
const milliseconds = duration.read(length);
if (milliseconds === undefined || others.length > 0) {
  exitWith(`soak takes ${soaks.join(" or ")}, and ${duration.takes}: it got ${positionals.join(" ")}`);
}
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
if (!Number.isSafeInteger(seed)) exitWith(`--seed takes a whole number: it got ${values.seed}`);

const stopping = new AbortController();
const timer = setTimeout(() => stopping.abort(), milliseconds);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stopping.abort());
const seedNote = name === "fast-path" ? `, --seed ${seed}` : "";
process.stdout.write(`soak ${name} for ${length}${seedNote}; Ctrl-C ends it sooner\n`);
const startedAt = performance.now();
const { failures, lines } =
  name === "fast-path" ? await compareFastPath(stopping.signal, seed) : await soakFaults(stopping.signal);
clearTimeout(timer);
const seconds = Math.round((performance.now() - startedAt) / 1_000);
const shown = failures.slice(0, failuresShown).map((failure) => `FAILED: ${failure}`);
process.stdout.write(`${[...shown, `${seconds} s`, ...lines].join("\n")}\n`);
process.exitCode = failures.length > 0 ? 1 : 0;

function exitWith(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}
