// A simulator: its worker embeds nothing, and only moves jobs through the ledger, as a real one would.
import { setTimeout as pause } from "node:timers/promises";
import type { ReqId } from "../src/status/req-id.ts";
import type { JobLedger } from "../src/store/jobs/job-ledger.ts";
import type { Insertion } from "./add-memory.ts";

/** Disposing of it brings what is under way to its end at once. */
export interface Worker extends AsyncDisposable {
  /** Works on a job from now on: to failure when one of its messages asks for that, to success otherwise. */
  begin(reqId: ReqId, insertion: Insertion): void;
}

/**
 * @param step how long a job is pending, and then processing, in milliseconds.
 * @param onError when the ledger could not be written: the job stays as it is.
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
    begin(reqId, insertion) {
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
