/** `npm run bench:wait`: what calls that wait cost, against clients that poll, and how soon they tell. */
import { parseArgs } from "node:util";
import pg from "pg";
import { thisCheckout } from "./checkout.ts";
import { killChildren } from "./children.ts";
import { startDatabase } from "./database.ts";
import { chooseCpus, pinRest } from "./machine.ts";
import type { Bench } from "./wait/bench.ts";
import { grpcWatch, ways } from "./wait/clients/ways/ways.ts";
import { type FloorResult, measureFloors } from "./wait/measure/floors.ts";
import { type LookupWindow, measureLookups } from "./wait/measure/lookups.ts";
import { measurePolling, type PollingResult } from "./wait/measure/polling.ts";
import { measureWay, type WayResult } from "./wait/measure/way.ts";
import { ages, plan } from "./wait/plan.ts";
import { describeFloor, describeLookups, describePolling, describeWay } from "./wait/report/lines.ts";
import { writeReport } from "./wait/report/write-report.ts";

const usage = `npm run bench:wait [-- --only TEXT]

Without options everything is measured, in about ten minutes, and bench/results/wait.* written.
--only TEXT  only what has TEXT in its name (floors, polling, lookups, and the ways to wait), may be repeated; writes nothing
`;

/** Rows of the table that no client waits for. */
const rows = 100_000;

const { values } = parseArgs({
  options: { only: { type: "string", multiple: true }, help: { type: "boolean" } },
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

const isWanted = (name: string) => values.only?.some((text) => name.includes(text)) ?? true;
const measured = {
  floors: [] as FloorResult[],
  polling: [] as PollingResult[],
  ways: [] as WayResult[],
  lookups: [] as LookupWindow[],
};
if (isWanted("floors")) {
  measured.floors.push(...(await measureFloors(bench)));
  log(measured.floors.map(describeFloor).join("\n"));
}
for (const distinct of plan.distinct) {
  // What is compared is measured one right after the other.
  for (const protocol of ["grpc", "rest"] as const) {
    if (isWanted("polling")) {
      const result = await measurePolling(bench, protocol, distinct);
      measured.polling.push(result);
      log(describePolling(result));
    }
    for (const way of ways.filter((each) => each.protocol === protocol && isWanted(each.name))) {
      // The poller's work does not depend on the way.
      const result = await measureWay(bench, way, distinct, way === grpcWatch ? ages : [ages[0]]);
      measured.ways.push(result);
      log(describeWay(result));
    }
  }
}
if (isWanted("lookups")) {
  measured.lookups.push(...(await measureLookups(bench, grpcWatch)));
  log(measured.lookups.map(describeLookups).join("\n"));
}
if (values.only === undefined) log(await writeReport(measured, started, database.version));

function log(text: string): void {
  process.stderr.write(`${text}\n`);
}
