import { Call } from "../../status/call.ts";
import { StatusError } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { PolledStatus, StatusOutcome, StatusStore } from "../../status/status-store.ts";
import { StaleReplica } from "../reads/freshness-check.ts";
import { mayConcernOneId } from "../reads/statement-errors.ts";
import type { Engine } from "../schema/engine.ts";
import type { Freshness } from "./freshness.ts";
import { noAnswer, type ReplicaState } from "./replica-state.ts";

/**
 * Why the primary is asked for what the replica was asked for first: it lacks the row, is behind, took its full time, failed,
 * or cannot decode the row; it answered a call that waits with a failure; or the call had too little time left, or was shed.
 */
export type ReaskCause =
  | "missing"
  | "stale"
  | "slow"
  | "failed"
  | "unreadable"
  | "failure"
  | "deadline"
  | "shed";

/** What suspends the replica. A caller's own deadline does not, nor does a limit of this service, nor one row. */
const suspending: ReadonlySet<ReaskCause> = new Set(["stale", "slow", "failed"]);

/**
 * `missing`: the replica lacks the row. `unconfirmed`: the row is of a failure, after which the request may have been submitted
 * again. Of both, the primary alone can tell. `unknown`: the replica could not be asked, or its answer must not be used.
 */
export type ReplicaAnswer<Status extends JobStatus = JobStatus> =
  | Status
  | "missing"
  | "unconfirmed"
  | "unknown";

/** Reads several ids. @throws only the reason with which the call was cancelled. */
export type ReadMany<Answer> = (reqIds: readonly ReqId[], call: Call) => Promise<ReadonlyMap<ReqId, Answer>>;

/** Reads statuses from a replica, and suspends it when that does not work. Whatever is no status is for the primary. */
export interface ReplicaReads {
  /** @throws only the reason with which the call was cancelled. */
  find(reqId: ReqId, call: Call): Promise<ReplicaAnswer>;
  readonly findMany: ReadMany<ReplicaAnswer>;
  readonly poll: ReadMany<ReplicaAnswer<PolledStatus>>;
}

interface ReplicaReadsOptions {
  /** Of the replica. Each statement checks the freshness of its rows. */
  readonly statuses: StatusStore;
  readonly state: ReplicaState;
  readonly freshness: Freshness;
  readonly engine: Engine;
  /** The longest, in milliseconds, that the replica may take to answer. */
  readonly timeout: number;
  /** Called for each id that the primary is to be asked for. */
  readonly onReask: (cause: ReaskCause) => void;
}

export function createReplicaReads(options: ReplicaReadsOptions): ReplicaReads {
  const { statuses, state, freshness, engine, timeout, onReask } = options;

  /** A part of the call, with a deadline of its own. @param half of the time that the call has left: the rest is the primary's. */
  function startAttempt(call: Call, half: number): Call {
    const attempt = new Call(performance.now() + Math.min(timeout, half));
    call.attach(attempt);
    return attempt;
  }

  function toAnswer<Status extends JobStatus>(
    outcome: Status | undefined | StatusError,
    half: number,
  ): ReplicaAnswer<Status> {
    if (outcome instanceof StatusError) {
      const cause = causeOf(outcome, half >= timeout);
      if (suspending.has(cause) && !concernsOneId(outcome)) state.suspend(outcome.cause ?? noAnswer(timeout));
      onReask(cause);
      return "unknown";
    }
    if (outcome !== undefined && freshness.isLive(outcome.createdAt)) return outcome;
    onReask("missing");
    return "missing";
  }

  /** A failure is final only until the request is submitted again. */
  function confirmable(answer: ReplicaAnswer<PolledStatus>): ReplicaAnswer<PolledStatus> {
    if (typeof answer !== "object" || answer.status !== "failure") return answer;
    onReask("failure");
    return "unconfirmed";
  }

  function askMany<Status extends JobStatus>(
    read: ReadMany<Status | undefined | StatusError>,
    accept: (answer: ReplicaAnswer<Status>) => ReplicaAnswer<Status>,
  ): ReadMany<ReplicaAnswer<Status>> {
    return async (reqIds, call) => {
      const half = halfOfTimeLeft(call);
      const attempt = startAttempt(call, half);
      try {
        const outcomes = await read(reqIds, attempt);
        return new Map(Array.from(outcomes, ([reqId, outcome]) => [reqId, accept(toAnswer(outcome, half))]));
      } finally {
        call.detach(attempt);
      }
    };
  }

  /** An unavailable shard behind the replica, or a row that it cannot decode, tells nothing about the other ids. */
  function concernsOneId({ cause }: StatusError): boolean {
    return !(cause instanceof StaleReplica) && mayConcernOneId(cause, engine);
  }

  return {
    async find(reqId, call) {
      const half = halfOfTimeLeft(call);
      const attempt = startAttempt(call, half);
      let outcome: StatusOutcome;
      try {
        outcome = await statuses.find(reqId, attempt);
      } catch (error) {
        if (call.cancelled || !(error instanceof StatusError)) throw error;
        outcome = error;
      } finally {
        call.detach(attempt);
      }
      return toAnswer(outcome, half);
    },
    findMany: askMany(statuses.findMany, (answer) => answer),
    poll: askMany(statuses.poll, confirmable),
  };
}

function halfOfTimeLeft({ deadline }: Call): number {
  return (deadline - performance.now()) / 2;
}

/** @param hadFullTime whether what is late is so by the replica's timeout, and not by the call's deadline. */
function causeOf({ reason, cause }: StatusError, hadFullTime: boolean): ReaskCause {
  if (reason === "DEADLINE_EXCEEDED") return hadFullTime ? "slow" : "deadline";
  if (reason === "OVERLOADED") return "shed";
  if (reason === "STATUS_UNREADABLE") return "unreadable";
  return cause instanceof StaleReplica ? "stale" : "failed";
}
