// A simulated worker, which embeds nothing and only writes the states of jobs to the ledger, as a real one would.
import { setTimeout as pause } from "node:timers/promises";
import type { ReqId } from "../src/status/req-id.ts";
import type { JobLedger } from "../src/store/jobs/job-ledger.ts";
import type { Insertion } from "./add-memory.ts";

/** Disposing of it ends the current jobs without further delay. */
export interface Worker extends AsyncDisposable {
  /** Processes a job. It fails when one of its messages contains the word "fail", and succeeds otherwise. */
  start(reqId: ReqId, insertion: Insertion): void;
}

/**
 * @param step how long a job is pending, and then processing, in milliseconds.
 * @param onError takes the error of a failed write. The job keeps its last state.
 */
export function createWorker(ledger: JobLedger, step: number, onError: (err: unknown) => void): Worker {
  const stopping = new AbortController();
  const jobs = new Set<Promise<void>>();

  const stepOrStop = () => pause(step, undefined, { signal: stopping.signal }).catch(() => {});

  async function work(reqId: ReqId, { messages }: Insertion): Promise<void> {
    await stepOrStop();
    await ledger.start(reqId);
    await stepOrStop();
    if (messages.some(({ content }) => /\bfail\b/i.test(content))) {
      await ledger.fail(reqId, "Vector database timeout during embedding generation");
    } else await ledger.succeed(reqId);
  }

  return {
    start(reqId, insertion) {
      const job = work(reqId, insertion)
        .catch(onError)
        .finally(() => jobs.delete(job));
      jobs.add(job);
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await Promise.all(jobs);
    },
  };
}
