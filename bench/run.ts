/** `npm run bench`: measures all servers in interleaved rounds, and writes bench/results/. */
import { compareCheckouts } from "./against/compare.ts";
import { type Candidate, prepareCandidates, serviceCandidates, serviceName } from "./candidates.ts";
import type { Checkout } from "./checkout.ts";
import { killChildren } from "./children.ts";
import { type BenchDatabase, startDatabase, type Table } from "./database.ts";
import { type Cpus, chooseCpus, pinRest } from "./machine.ts";
import { type Options, readOptions, usage } from "./options.ts";
import { comparison, defaultRows, makePlan, type Plan } from "./plan.ts";
import type { Series } from "./report/series.ts";
import { writeReport } from "./report/write-report.ts";
import { measure } from "./round.ts";

/** The database of the other checkout's service. */
const besideDatabase = "beside";

/** The grace period of an interrupted run, in milliseconds, for ending its programs. */
const stopTimeout = 5_000;

const options = readOptionsOrExit();

let stopping = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    log(`${signal}: stopping`);
    stopping = true;
    // The current measurement fails, and the error disposes of everything. The database also ends with this process.
    killChildren();
    setTimeout(() => process.exit(1), stopTimeout).unref();
  });
}

try {
  if (options.help) process.stdout.write(usage);
  else if (options.against !== undefined) await compare(options.against);
  else await bench();
} catch (error) {
  if (!stopping) throw error;
  process.exitCode = 1;
}

async function bench(): Promise<void> {
  const plan = makePlan(options);
  const cpus = chooseCpus();
  const started = new Date();

  log("preparing the peers and the database");
  await using database = await startDatabase();
  const [candidates, table] = await Promise.all([prepareCandidates(), database.provide(plan.rows)]);
  const small = await smallTable(plan, database);
  await using beside =
    options.beside && (await database.provideFor(options.beside, besideDatabase, plan.rows));
  for (const skipped of candidates.skipped) log(`skipped ${skipped}`);
  await pinRest(cpus, database.pid);
  const series = [
    ...seriesOf(candidates.all, table, small),
    ...(options.beside && beside ? seriesOf(serviceCandidates(options.beside), beside, undefined) : []),
  ].toSorted((one, other) => order(one) - order(other));

  for (let round = 0; round < plan.rounds; round++) await runRound(round, series, database, plan, cpus);

  const report = { started, plan, cpus, postgres: database.version, series, skipped: candidates.skipped };
  log(await writeReport(report, { save: options.only === undefined }));
}

async function compare(other: Checkout): Promise<void> {
  const { rows, rounds = comparison.rounds } = options;
  process.stdout.write(await compareCheckouts(other, { rows, rounds }, log));
}

/** Measures each series once. The first one differs from round to round, so that effects of the order even out. */
async function runRound(
  round: number,
  series: readonly Series[],
  database: BenchDatabase,
  plan: Plan,
  cpus: Cpus,
): Promise<void> {
  for (let i = 0; i < series.length; i++) {
    const { candidate, table, measured } = series[(i + round) % series.length] as Series;
    const result = await measure(candidate, table, database, plan, cpus);
    measured.push(result);
    const { answers, cpu, seconds } = result.saturation;
    const perSecond = Math.round(answers / seconds);
    const perCpu = ((cpu.server / answers) * 1e6).toFixed(1);
    log(
      `round ${round + 1} of ${plan.rounds}: ${candidate.name} (${candidate.protocol}, ${table.rows} rows) ` +
        `${perSecond} answers/s, ${perCpu} µs of server CPU each`,
    );
  }
}

/** The service with the default number of rows is measured right after the service with all rows. */
function seriesOf(candidates: readonly Candidate[], table: Table, small: Table | undefined): Series[] {
  return candidates
    .filter(({ name }) => options.only?.some((text) => name.includes(text)) ?? true)
    .flatMap((candidate) => {
      const tables = small !== undefined && candidate.name === serviceName ? [table, small] : [table];
      return tables.map((each) => ({ candidate, table: each, measured: [] }));
    });
}

/** REST first, and the service before its peers. */
function order({ candidate: { protocol, checkout } }: Series): number {
  return (protocol === "rest" ? 0 : 2) + (checkout === undefined ? 1 : 0);
}

/** With more rows than the default, the service is also measured with the default number. */
function smallTable(plan: Plan, database: BenchDatabase): Promise<Table | undefined> {
  return plan.rows > defaultRows ? database.provide(defaultRows) : Promise.resolve(undefined);
}

function readOptionsOrExit(): Options {
  try {
    return readOptions(process.argv.slice(2));
  } catch (error) {
    log((error as Error).message);
    process.exit(1);
  }
}

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}
