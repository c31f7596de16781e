import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import { idOf } from "../rows.ts";
import type { Crowd } from "./clients/crowd.ts";
import type { Jobs } from "./jobs.ts";

export interface ChangesOptions {
  readonly url: string;
  readonly jobs: Jobs;
  /** The jobs that become final, by their numbers within the jobs, in this order. */
  readonly numbers: readonly number[];
  /** Commits a second. */
  readonly rate: number;
}

/** How long after the last commit a client may still wait for it, in milliseconds. */
const patience = 10_000;

/** Every fifth job fails. */
const failing = 5;

/**
 * Makes jobs final one by one, each in a transaction of its own.
 *
 * @returns for each job the time from its commit until the last of its clients got the status, in milliseconds. It counts
 *   from the moment before `commit` is sent.
 * @throws Error when a client does not get one.
 */
export async function commitChanges(
  crowd: Crowd,
  { url, jobs, numbers, rate }: ChangesOptions,
): Promise<number[]> {
  const committedAt = new Map<number, number>();
  const latencies: number[] = [];
  const all = Promise.withResolvers<void>();
  crowd.onDone = (job, at) => {
    latencies.push(at - (committedAt.get(job) ?? Number.NaN));
    if (latencies.length === numbers.length) all.resolve();
  };

  const client = new pg.Client(url);
  await client.connect();
  try {
    const begin = performance.now();
    for (const [index, job] of numbers.entries()) {
      const status = index % failing === 0 ? "failure" : "success";
      await pause(Math.max(0, begin + (index * 1000) / rate - performance.now()));
      await client.query("begin");
      await client.query("update memory_job set status = $2, error = $3 where req_id = $1", [
        idOf(jobs.first + job),
        status,
        status === "failure" ? "Vector database timeout during embedding generation" : null,
      ]);
      committedAt.set(job, performance.now());
      await client.query("commit");
    }
  } finally {
    await client.end();
  }
  await Promise.race([all.promise, tooLate()]);
  return latencies;

  async function tooLate(): Promise<never> {
    await pause(patience, undefined, { ref: false });
    const missing = numbers.length - latencies.length;
    const failed = JSON.stringify([...crowd.failures]);
    throw new Error(`${missing} of ${numbers.length} changes did not arrive; calls that failed: ${failed}`);
  }
}
