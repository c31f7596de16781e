import { StatusError } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { StatusStore } from "../../status/status-store.ts";
import type { Failover, ReadAgain } from "./failover.ts";
import type { ReadMany, ReplicaAnswer, ReplicaReads } from "./replica-reads.ts";
import type { ReplicaState } from "./replica-state.ts";

interface ReplicaFirstStoreOptions {
  readonly state: ReplicaState;
  readonly replica: ReplicaReads;
  readonly primary: StatusStore;
  readonly failover: Failover;
  /** Called for each id that the replica has answered. */
  readonly onReplicaRead: () => void;
}

/** Asks the replica while it serves; the primary for what that did not answer; both once more while a primary is replaced. */
export function createReplicaFirstStore(options: ReplicaFirstStoreOptions): StatusStore {
  const { state, replica, primary, failover, onReplicaRead } = options;
  return {
    async find(reqId, call) {
      const answer = state.isServing && !call.cancelled ? await replica.find(reqId, call) : "unknown";
      if (typeof answer === "object") {
        onReplicaRead();
        return answer;
      }
      try {
        return await primary.find(reqId, call);
      } catch (error) {
        if (call.cancelled || !isUnavailable(error) || needsPrimary(answer)) throw error;
        const outcome = (await failover.findMany(new Map([[reqId, error]]), call)).get(reqId);
        if (outcome instanceof StatusError) throw outcome;
        return outcome;
      }
    },
    findMany: readMany(replica.findMany, primary.findMany, failover.findMany),
    poll: readMany(replica.poll, primary.poll, failover.poll),
  };

  function readMany<Status extends JobStatus>(
    askReplica: ReadMany<ReplicaAnswer<Status>>,
    askPrimary: ReadMany<Status | undefined | StatusError>,
    readAgain: ReadAgain<Status | undefined | StatusError>,
  ): ReadMany<Status | undefined | StatusError> {
    return async (reqIds, call) => {
      const outcomes = new Map<ReqId, Status | undefined | StatusError>(
        reqIds.map((reqId) => [reqId, undefined]),
      );
      const answers: ReadonlyMap<ReqId, ReplicaAnswer<Status>> = state.isServing && !call.cancelled
        ? await askReplica([...outcomes.keys()], call)
        : new Map();
      for (const [reqId, answer] of answers) {
        if (typeof answer !== "object") continue;
        outcomes.set(reqId, answer);
        onReplicaRead();
      }
      const unread = [...outcomes.keys()].filter((reqId) => typeof answers.get(reqId) !== "object");
      if (unread.length === 0) return outcomes;
      const unavailable = new Map<ReqId, StatusError>();
      for (const [reqId, outcome] of await askPrimary(unread, call)) {
        outcomes.set(reqId, outcome);
        if (isUnavailable(outcome) && !needsPrimary(answers.get(reqId))) unavailable.set(reqId, outcome);
      }
      if (unavailable.size === 0) return outcomes;
      for (const [reqId, outcome] of await readAgain(unavailable, call)) outcomes.set(reqId, outcome);
      return outcomes;
    };
  }
}

/** Whether only the primary can tell what the replica's answer means. */
function needsPrimary(answer: ReplicaAnswer | undefined): boolean {
  return answer === "missing" || answer === "unconfirmed";
}

function isUnavailable(outcome: unknown): outcome is StatusError {
  return outcome instanceof StatusError && outcome.reason === "DATASTORE_UNAVAILABLE";
}
