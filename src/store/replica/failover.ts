import { setTimeout as pause } from "node:timers/promises";
import type { Call } from "../../status/call.ts";
import type { StatusError } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { PollOutcome, StatusOutcome, StatusStore } from "../../status/status-store.ts";
import type { Freshness } from "./freshness.ts";
import type { ReadMany, ReplicaAnswer, ReplicaReads } from "./replica-reads.ts";
import { immediateAttempts } from "./replica-state.ts";

/**
 * Reads ids again.
 *
 * @param unread the primary's error for each id: its outcome when there is no other.
 * @throws the reason with which the call was cancelled.
 */
export type ReadAgain<Outcome> = (
  unread: ReadonlyMap<ReqId, StatusError>,
  call: Call,
) => Promise<ReadonlyMap<ReqId, Outcome>>;

/** Reads what neither the replica nor the primary has answered, while another primary takes over. */
export interface Failover {
  readonly findMany: ReadAgain<StatusOutcome>;
  readonly poll: ReadAgain<PollOutcome>;
}

/** How long, in milliseconds, a call is repeated, and the pause between two attempts once the immediate ones are used up. */
const failoverTimeout = 1_000;
const attemptPause = 50;

interface FailoverOptions {
  readonly replica: ReplicaReads;
  readonly freshness: Freshness;
  readonly primary: StatusStore;
  /** Whether the primary's breaker is open. */
  readonly isPrimaryUnavailable: () => boolean;
  /** Called for each id that the replica has answered. */
  readonly onReplicaRead: () => void;
}

/**
 * When there is no primary, a suspended replica is better than none: each answer is checked. While a primary is replaced,
 * connections behind a read-only port are lost with the old one, and others lead to the new one before that is known; each
 * of these is used once. For a moment no answer may pass the check, since the standbys follow the new primary already and
 * DATABASE_URL does not lead there yet: then the call waits for either.
 */
export function createFailover(options: FailoverOptions): Failover {
  const { replica, freshness, primary, isPrimaryUnavailable, onReplicaRead } = options;

  function readAgain<Status extends JobStatus>(
    askReplica: ReadMany<ReplicaAnswer<Status>>,
    askPrimary: ReadMany<Status | undefined | StatusError>,
  ): ReadAgain<Status | undefined | StatusError> {
    return async (errors, call) => {
      const outcomes = new Map<ReqId, Status | undefined | StatusError>(errors);
      const unread = new Set(errors.keys());
      const lastAttemptAt = Math.min(performance.now() + failoverTimeout, call.deadline) - attemptPause;
      let wasUnavailable = isPrimaryUnavailable();
      for (let attempts = 1; freshness.isWithinBound() && !call.cancelled; attempts++) {
        for (const [reqId, answer] of await askReplica([...unread], call)) {
          if (answer === "unknown") continue;
          unread.delete(reqId);
          if (typeof answer !== "object") continue;
          outcomes.set(reqId, answer);
          onReplicaRead();
        }
        if (unread.size === 0 || performance.now() > lastAttemptAt) break;
        if (wasUnavailable && !isPrimaryUnavailable()) {
          for (const [reqId, outcome] of await askPrimary([...unread], call)) outcomes.set(reqId, outcome);
          break;
        }
        wasUnavailable = isPrimaryUnavailable();
        if (attempts < immediateAttempts) continue;
        // There is a primary, which answers with errors: to wait is of no use.
        if (!wasUnavailable) break;
        await pause(attemptPause);
      }
      if (call.cancelled) throw call.reason;
      return outcomes;
    };
  }

  return {
    findMany: readAgain(replica.findMany, primary.findMany),
    poll: readAgain(replica.poll, primary.poll),
  };
}
