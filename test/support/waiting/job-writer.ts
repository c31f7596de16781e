import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import type { JobState } from "../../../src/status/status.ts";

/** A state of a job as it is written. The error text names the attempt, so that no two failures are alike. */
interface WrittenState {
  readonly status: JobState;
  readonly error: string | undefined;
}

/** A job that changes while clients wait for it. Times by `performance.now()`. */
export interface LiveJob {
  readonly reqId: string;
  /** The states that have been sent to the database, in order. Whether the last one was written may be unknown. */
  readonly states: readonly WrittenState[];
  /** When the database acknowledged each state. */
  readonly acknowledgedAt: readonly number[];
}

/** @returns when the last state of a job was acknowledged, if that is final. */
export function finalSince({ states, acknowledgedAt }: LiveJob): number | undefined {
  const last = states[acknowledgedAt.length - 1];
  return acknowledgedAt.length === states.length && last !== undefined && isFinal(last)
    ? acknowledgedAt.at(-1)
    : undefined;
}

export function isFinal({ status }: { readonly status: JobState }): boolean {
  return status === "success" || status === "failure";
}

/** Writes jobs, and repeats each write until it is acknowledged. Disposing of it ends its connection. */
export interface JobWriter extends AsyncDisposable {
  /** Of the jobs that are not final, some at random. */
  pick(count: number): LiveJob[];
  /** Waits for the next acknowledgement. */
  acknowledged(): Promise<void>;
  /** Makes all jobs final, and writes no more. */
  finish(): Promise<void>;
}

export interface JobWriterOptions {
  /** How many jobs are not final at any time. */
  readonly jobs: number;
  /** How often one of them is moved on, in milliseconds. Absent: they are only moved by `finish`. */
  readonly pace?: number;
}

/** Jobs that are moved on at once. */
const atOnce = 10;
/** Between two attempts of a write, in milliseconds. */
const retryPause = 50;

/** A repetition of a write that was committed after all finds the state before it gone, and changes nothing. */
const move = `
  update memory_job set status = new.status, error = new.error
  from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as new (req_id, before, status, error)
  where memory_job.req_id = new.req_id and memory_job.status = new.before`;

const create = `
  insert into memory_job (req_id, status) select id, 'pending' from unnest($1::uuid[]) as new (id) on conflict do nothing`;

type Draft = {
  -readonly [Property in keyof LiveJob]: LiveJob[Property] extends readonly (infer T)[]
    ? T[]
    : LiveJob[Property];
};

/** @param url of a user that may write. It must lead to the database whatever happens to the service's. */
export async function startJobWriter(url: string, { jobs, pace }: JobWriterOptions): Promise<JobWriter> {
  const pool = new pg.Pool({ connectionString: url, max: 1, connectionTimeoutMillis: 2_000 });
  pool.on("error", () => {});
  const open = new Set<Draft>();
  let next = Promise.withResolvers<void>();
  let isStopped = false;

  async function write(statement: string, values: readonly unknown[]): Promise<void> {
    for (;;) {
      try {
        await pool.query(statement, [...values]);
        return;
      } catch (error) {
        if (pool.ended) throw error;
        await pause(retryPause);
      }
    }
  }

  function acknowledge(written: readonly Draft[]): void {
    const now = performance.now();
    for (const job of written) job.acknowledgedAt.push(now);
    next.resolve();
    next = Promise.withResolvers();
  }

  async function createJobs(count: number): Promise<void> {
    const created = Array.from(
      { length: count },
      (): Draft => ({
        reqId: randomUUID(),
        states: [{ status: "pending", error: undefined }],
        acknowledgedAt: [],
      }),
    );
    await write(create, [created.map(({ reqId }) => reqId)]);
    acknowledge(created);
    for (const job of created) open.add(job);
  }

  async function moveOn(moved: readonly Draft[], choose: (job: Draft) => WrittenState): Promise<void> {
    const before = moved.map(({ states }) => states.at(-1)?.status);
    for (const job of moved) job.states.push(choose(job));
    const after = moved.map(({ states }) => states.at(-1));
    await write(move, [
      moved.map(({ reqId }) => reqId),
      before,
      after.map((state) => state?.status),
      after.map((state) => state?.error),
    ]);
    acknowledge(moved);
    for (const job of moved) if (isLast(job)) open.delete(job);
  }

  async function run(): Promise<void> {
    while (!isStopped) {
      const moved = pickFrom([...open], atOnce);
      await moveOn(moved, following);
      await createJobs(jobs - open.size);
      await pause(pace);
    }
  }

  await createJobs(jobs);
  const running = pace === undefined ? undefined : run();
  return {
    pick: (count) => pickFrom([...open], count),
    acknowledged: () => next.promise,
    async finish() {
      isStopped = true;
      await running;
      const failed = [...open].filter(({ states }) => states.at(-1)?.status === "failure");
      for (const job of failed) open.delete(job);
      await moveOn([...open], last);
      open.clear();
    },
    async [Symbol.asyncDispose]() {
      isStopped = true;
      await pool.end();
      await running?.catch(() => {});
    },
  };
}

function pickFrom<T>(values: T[], count: number): T[] {
  const picked: T[] = [];
  while (picked.length < count && values.length > 0) {
    picked.push(...values.splice(Math.floor(Math.random() * values.length), 1));
  }
  return picked;
}

/** Some of the jobs that failed are submitted again. */
function isLast({ reqId, states }: Draft): boolean {
  const { status } = states.at(-1) as WrittenState;
  return status === "success" || (status === "failure" && (states.length > 3 || reqId < "a"));
}

function following(job: Draft): WrittenState {
  const { status } = job.states.at(-1) as WrittenState;
  if (status === "failure") return { status: "pending", error: undefined };
  return status === "pending" && Math.random() < 0.8 ? { status: "processing", error: undefined } : last(job);
}

function last({ reqId, states }: Draft): WrittenState {
  return Math.random() < 0.5
    ? { status: "success", error: undefined }
    : { status: "failure", error: `attempt of ${reqId} after ${states.length} states` };
}
