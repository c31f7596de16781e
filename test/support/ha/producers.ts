import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { parseReqId } from "../../../src/status/req-id.ts";
import type { JobState } from "../../../src/status/status.ts";
import { openConnections } from "../../../src/store/connections/connections.ts";
import { createJobLedger } from "../../../src/store/jobs/job-ledger.ts";

/** A job as its producer wrote it. Times by `performance.now()`. */
export interface ProducedJob {
  readonly reqId: string;
  /** The states of the job, in order. */
  readonly states: readonly JobState[];
  /** The error text of its failure, if it fails. */
  readonly error: string | undefined;
  /** How many of the states have been sent to the database. Whether the last one was written may be unknown. */
  attempted: number;
  /** When the database acknowledged each state. */
  readonly acknowledgedAt: readonly number[];
}

/** How many states of a job had been acknowledged at a time. */
export function acknowledgedBy(job: ProducedJob, time: number): number {
  return job.acknowledgedAt.filter((at) => at <= time).length;
}

/** Clients that write through the job ledger, and repeat each write until it is acknowledged. */
export interface Producers {
  /** In the order of their creation. */
  readonly jobs: readonly ProducedJob[];
  /** The longest time since `since` without an acknowledgement: its start and its length. */
  longestGap(since: number): { readonly from: number; readonly length: number };
  /** Waits for the next acknowledgement. */
  acknowledged(): Promise<void>;
  /** Ends the producers after their current jobs. */
  stop(): Promise<void>;
}

const producers = 4;
/** The pause between two writes of one producer, in milliseconds. */
const pace = 40;

export function startProducers(url: string): Producers {
  const connections = openConnections({ url, size: producers, connectTimeout: 1_000, onLost() {} });
  const ledger = createJobLedger(connections.db);
  const jobs: ProducedJob[] = [];
  const acknowledgements: number[] = [];
  let next = Promise.withResolvers<void>();
  let stopped = false;

  async function produce(): Promise<void> {
    for (let number = 0; !stopped; number++) {
      const reqId = parseReqId(randomUUID());
      const error = number % 2 === 0 ? undefined : `it broke: ${reqId}`;
      const acknowledgedAt: number[] = [];
      const states: JobState[] = ["pending", "processing", error === undefined ? "success" : "failure"];
      const job: ProducedJob = { reqId, states, error, attempted: 0, acknowledgedAt };
      jobs.push(job);
      const moves = [
        () => ledger.create(reqId),
        () => ledger.start(reqId),
        () => (error === undefined ? ledger.succeed(reqId) : ledger.fail(reqId, error)),
      ];
      for (const move of moves) {
        job.attempted++;
        await repeat(move, job.attempted === states.length);
        acknowledgedAt.push(performance.now());
        acknowledgements.push(performance.now());
        next.resolve();
        next = Promise.withResolvers();
        await pause(pace);
      }
    }
  }

  const running = Array.from({ length: producers }, produce);
  return {
    jobs,
    longestGap(since) {
      const times = [since, ...acknowledgements.filter((at) => at > since), performance.now()];
      const gaps = times.slice(1).map((at, index) => {
        const from = times[index] ?? at;
        return { from, length: at - from };
      });
      return gaps.reduce((longest, gap) => (gap.length > longest.length ? gap : longest));
    },
    acknowledged: () => next.promise,
    async stop() {
      stopped = true;
      await Promise.all(running);
      await connections[Symbol.asyncDispose]();
    },
  };
}

/** @param isLast whether it is the job's last move: if a repetition is refused, an earlier attempt was written after all. */
async function repeat(move: () => Promise<unknown>, isLast: boolean): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await move();
      return;
    } catch (error) {
      const { reason } = error as { reason?: string };
      if (reason === "IMPOSSIBLE_MOVE" && isLast && tries > 0) return;
      if (reason !== undefined) throw error;
      await pause(pace);
    }
  }
}
