/** `npm run bench:wait`: what calls that wait cost, against clients that poll, and how soon they tell. */
import { parseArgs } from "node:util";
import pg from "pg";
import { thisCheckout } from "./checkout.ts";
import { killChildren } from "./children.ts";
import { startDatabase } from "./database.ts";
import { chooseCpus, pinRest } from "./machine.ts";
import type { Bench } from "./wait/bench.ts";
import { runChurn } from "./wait/churn/run.ts";
import { measureAll } from "./wait/measure/all.ts";
import { writeReport } from "./wait/report/write-report.ts";

const usage = `npm run bench:wait [-- --only TEXT | --churn]

Without options everything is measured, in about ten minutes, and bench/results/wait.* written.
--only TEXT  only what has TEXT in its name (floors, polling, lookups, and the ways to wait), may be repeated; writes nothing
--churn      100,000 changes of status while clients connect, leave, stall and are reset: what did they get? About two minutes
`;

/** Rows of the table that no client waits for. */
const rows = 100_000;

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    churn: { type: "boolean" },
    help: { type: "boolean" },
  },
});
if (values.help) {
  process.stdout.write(usage);
  process.exit(0);
}
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, killChildren);

const started = new Date();
const cpus = chooseCpus();
await using database = await startDatabase();
await using table = await database.provideFor(thisCheckout, "waiting", rows);
await pinRest(cpus, database.pid);
await using stack = new AsyncDisposableStack();
const admin = stack.adopt(new pg.Client(table.url), (client) => client.end());
await admin.connect();
let nextRow = 2 * rows;
const bench: Bench = {
  cpus,
  database,
  table,
  admin,
  takeRows(count) {
    const first = nextRow;
    nextRow += count;
    return first;
  },
};

if (values.churn) log(await runChurn(bench));
else {
  const isWanted = (name: string) => values.only?.some((text) => name.includes(text)) ?? true;
  const measured = await measureAll(bench, isWanted, log);
  if (values.only === undefined) log(await writeReport(measured, started, database.version));
}

function log(text: string): void {
  process.stderr.write(`${text}\n`);
}
