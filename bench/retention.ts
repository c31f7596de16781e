/** `npm run bench:retention`: does purge keep the table as small as it should be, and what do lookups notice? */
import { parseArgs } from "node:util";
import { chooseCpus, pinRest } from "./machine.ts";
import { type RetentionDatabase, startDatabase } from "./retention/database.ts";
import { type Days, passDays } from "./retention/days/days.ts";
import type { RemovalName } from "./retention/days/removal.ts";
import { jobsPerHour, makePlan, simulatedHours } from "./retention/plan.ts";
import { measureRealTime } from "./retention/real-time/measure.ts";
import type { RealTimeWindow } from "./retention/real-time/window.ts";
import { describeSample, describeWindow } from "./retention/report/lines.ts";
import { writeReport } from "./retention/report/write-report.ts";

const usage = `npm run bench:retention [-- --quick]

Simulated days on a table of ten million rows, and lookups while it is purged, in about half an hour; writes bench/results/retention.*.
--quick  one million rows, in about five minutes; writes bench/results/retention-quick.*
`;

const { values } = parseArgs({ options: { quick: { type: "boolean" }, help: { type: "boolean" } } });
if (values.help) {
  process.stdout.write(usage);
  process.exit(0);
}
// PostgreSQL and the other programs end with this one.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const started = new Date();
const plan = makePlan({ isQuick: values.quick ?? false });
const chosen = chooseCpus();
// On two CPUs, a purge would otherwise run on the load generator's alone, while the service's is mostly idle.
const cpus =
  chosen.database === chosen.generator
    ? { ...chosen, database: `${chosen.server},${chosen.generator}` }
    : chosen;
await using database = await startDatabase();
await pinRest(cpus, database.pid);

const compared: Days[] = [];
for (const removal of ["nothing is deleted", "one DELETE a day", "purge"] as const) {
  await using table = await database.create("compared");
  compared.push(await passDays(table, { removal, rows: plan.comparedRows }, logSample(removal)));
}
const { days, windows } = await measureLarge(database);
log(
  await writeReport({
    plan,
    started,
    cpus,
    postgres: database.version,
    measured: { compared, days, windows },
  }),
);

async function measureLarge({
  create,
  pid,
}: RetentionDatabase): Promise<{ days: Days; windows: RealTimeWindow[] }> {
  await using table = await create("days");
  const days = await passDays(table, { removal: "purge", rows: plan.rows }, logSample("purge"));
  const windows = await measureRealTime({
    table,
    firstJob: simulatedHours * jobsPerHour(plan.rows),
    plan: plan.realTime,
    cpus,
    databasePid: pid,
    onWindow: (window) => log(describeWindow(window)),
  });
  return { days, windows };
}

function logSample(removal: RemovalName): Parameters<typeof passDays>[2] {
  return (sample) => {
    if (sample.hour % 6 === 1) log(`${removal}: ${describeSample(sample)}`);
  };
}

function log(text: string): void {
  process.stderr.write(`${text}\n`);
}
