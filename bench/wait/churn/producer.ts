import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import { idOf } from "../../rows.ts";
import type { State } from "../clients/states.ts";
import type { ChurnJob } from "./jobs.ts";

export interface ProducerOptions {
  readonly url: string;
  /** How many changes are committed, each in a transaction of its own. */
  readonly changes: number;
  /** At most, a second. */
  readonly rate: number;
  /** How many jobs are not done at the same time. */
  readonly live: number;
  /** The first of the rows that no other job has. */
  readonly firstRow: number;
}

/** Commits changes of random jobs, and begins a new job for each that is done. */
export interface Producer {
  /** The jobs that are not done. */
  readonly live: readonly ChurnJob[];
  changes(): number;
  /** Until all changes are committed, and all jobs are final. */
  run(): Promise<void>;
}

const connections = 4;
/** Of every tenth failure, in characters: a stream that is not read blocks sooner. */
const longError = 2_000;
/** How many times a job may be submitted. */
const maxAttempts = 2;

export async function createProducer({
  url,
  changes,
  rate,
  live: liveCount,
  firstRow,
}: ProducerOptions): Promise<Producer> {
  const pool = new pg.Pool({ connectionString: url, max: connections });
  let nextRow = firstRow;
  let committed = 0;

  async function submit(count: number): Promise<ChurnJob[]> {
    const ids = Array.from({ length: count }, () => idOf(nextRow++));
    const { rows } = await pool.query<{ req_id: string; created_at: number }>(
      `insert into memory_job (req_id, status) select id, 'pending' from unnest($1::uuid[]) as id
       returning req_id, extract(epoch from created_at)::float8 as created_at`,
      [ids],
    );
    return rows.map(({ req_id, created_at }) => ({
      reqId: req_id,
      status: "pending" as const,
      createdAt: created_at,
      attempts: 1,
      finals: [],
    }));
  }

  async function move(job: ChurnJob, status: State["status"]): Promise<void> {
    const error = status === "failure" ? errorOf(job) : undefined;
    // A client may get it before the producer knows that it is committed.
    if (status === "success" || status === "failure") {
      job.finals.push({ status, createdAt: job.createdAt, error });
    }
    const { rows } = await pool.query<{ created_at: number }>(
      `update memory_job set status = $2, error = $3 where req_id = $1
       returning extract(epoch from created_at)::float8 as created_at`,
      [job.reqId, status, error],
    );
    job.status = status;
    if (status === "pending") {
      job.createdAt = rows[0]?.created_at ?? Number.NaN;
      job.attempts++;
    }
    committed++;
  }

  const live = await submit(liveCount);
  const startedAt = performance.now();

  /** Each works on jobs of its own, so that the changes of one job follow each other. */
  async function work(worker: number): Promise<void> {
    const own = Math.floor(liveCount / connections);
    while (committed < changes) {
      const early = (committed * 1000) / rate - (performance.now() - startedAt);
      if (early > 1) await pause(early);
      const index = worker * own + Math.floor(Math.random() * own);
      const job = live[index] as ChurnJob;
      const next = nextStatus(job);
      if (next === "wait") continue;
      if (next === "done") [live[index]] = (await submit(1)) as [ChurnJob];
      else await move(job, next);
    }
  }

  return {
    live,
    changes: () => committed,
    async run() {
      try {
        await Promise.all(Array.from({ length: connections }, (_, worker) => work(worker)));
        const open = live.filter(({ status }) => status === "pending" || status === "processing");
        await Promise.all(open.map((job) => move(job, "success")));
      } finally {
        await pool.end();
      }
    },
  };
}

function nextStatus({ status, attempts, createdAt }: ChurnJob): State["status"] | "done" | "wait" {
  const chance = Math.random();
  if (status === "pending") return chance < 0.6 ? "processing" : chance < 0.85 ? "success" : "failure";
  if (status === "processing") return chance < 0.7 ? "success" : "failure";
  if (status === "success" || attempts === maxAttempts || chance < 0.5) return "done";
  // Two attempts in the same second have the same created_at, by which clients tell them apart.
  return Date.now() / 1000 > createdAt + 2 ? "pending" : "wait";
}

function errorOf({ reqId, attempts }: ChurnJob): string {
  const text = `attempt ${attempts} of ${reqId} failed`;
  return Math.random() < 0.1 ? text.padEnd(longError, ".") : text;
}
