import type pg from "pg";
import type { EmptyTable } from "../database.ts";
import {
  chunksPerHour,
  jobsPerChunk,
  jobsPerHour,
  keptHours,
  simulatedHours,
  stepsPerHour,
} from "../plan.ts";
import { openProducer, type Producer } from "../producer.ts";
import { insertDone, submit, submitAgainAt } from "../statements.ts";
import { type SimulatedClock, startClock } from "./clock.ts";
import { openLookups } from "./lookups.ts";
import { type RemovalName, removals } from "./removal.ts";
import { readSizes, type Sample } from "./sample.ts";
import { hurryVacuum } from "./vacuum-speed.ts";

/** What became of a table in the simulated days. */
export interface Days {
  readonly removal: RemovalName;
  /** Jobs that are submitted in {@link keptHours}. */
  readonly rows: number;
  /** One an hour. */
  readonly samples: readonly Sample[];
  /** The longest statement that deleted rows, in seconds. */
  readonly longestDelete: number;
}

/** As many as there are CPUs in a small machine: each is a session that is never idle. */
const producers = 2;
const chunksPerStep = chunksPerHour / stepsPerHour;
const secondsPerStep = 3600 / stepsPerHour;

/**
 * Lets simulated days pass on an empty table. The jobs of the first hours, before any is old enough to be deleted, are inserted
 * as they are when they are done, which takes a fraction of the time: the rows that replace them have had a life.
 *
 * @param rows jobs that are submitted in {@link keptHours}.
 * @param onSample takes each sample.
 */
export async function passDays(
  { url, admin }: EmptyTable,
  { removal: name, rows }: Pick<Days, "removal" | "rows">,
  onSample: (sample: Sample) => void,
): Promise<Days> {
  const clock = startClock(simulatedHours);
  const perHour = jobsPerHour(rows);
  await using opened = new AsyncDisposableStack();
  opened.use(await hurryVacuum(admin));
  const all: Producer[] = [];
  for (let index = 0; index < producers; index++) {
    all.push(opened.use(await openSimulated(url, clock, rows, index)));
  }
  const removal = opened.use(await removals[name](url, clock));
  const lookups = opened.use(await openLookups(url));

  const begin = performance.now();
  const samples: Sample[] = [];
  let deleted = 0;
  for (let hour = 1; hour <= simulatedHours; hour++) {
    if (hour <= keptHours) {
      await admin.query(insertDone(createdAt(clock, rows, "i")), [(hour - 1) * perHour, hour * perHour - 1]);
    } else await passHour(hour - 1);
    const sample = {
      hour,
      after: (performance.now() - begin) / 1000,
      deleted,
      lookups: await lookups.measure(Math.max(0, hour - 24) * perHour, hour * perHour),
      ...(await readSizes(admin)),
    };
    samples.push(sample);
    onSample(sample);
  }
  return { removal: name, rows, samples, longestDelete: await longestDelete(admin) };

  async function passHour(from: number): Promise<void> {
    for (let step = 0; step < stepsPerHour; step++) {
      const [purged] = await Promise.all([
        removal.run(from * 3600 + step * secondsPerStep),
        ...all.map((each) => takeTurns(each, chunksPerStep / producers)),
      ]);
      deleted += purged;
    }
  }
}

function openSimulated(url: string, clock: SimulatedClock, rows: number, index: number): Promise<Producer> {
  const chunk = jobsPerChunk(rows);
  return openProducer({
    url,
    session: "set synchronous_commit = off",
    firstJob: keptHours * jobsPerHour(rows) + index * chunk,
    jobsPerChunk: chunk,
    stride: producers * chunk,
    // A turn lasts for 144 simulated seconds.
    turns: { start: 1, end: 2, again: 10 },
    submit: submit(createdAt(clock, rows, "i")),
    again: {
      statement: submitAgainAt(createdAt(clock, rows, "$3::bigint")),
      session: "set session_replication_role = replica",
    },
  });
}

/** When a job is submitted, as SQL. */
function createdAt({ epoch }: SimulatedClock, rows: number, job: string): string {
  return `to_timestamp(${epoch} + ${job} * ${3600 / jobsPerHour(rows)})`;
}

async function takeTurns(producer: Producer, count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await producer.takeTurn();
}

/** Of this database's statements, since it was made. In seconds. */
async function longestDelete(admin: pg.Client): Promise<number> {
  const { rows } = await admin.query<{ longest: number }>(
    `select coalesce(max(max_exec_time), 0)::float8 / 1000 as longest from pg_stat_statements
     where dbid = (select oid from pg_database where datname = current_database())
       and (query ilike 'select%memory_job_purge(%' or query like 'delete from memory_job%')`,
  );
  return rows[0]?.longest ?? 0;
}
