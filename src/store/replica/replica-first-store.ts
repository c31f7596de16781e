import { StatusError } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { StatusOutcome, StatusStore } from "../../status/status-store.ts";
import type { Failover } from "./failover.ts";
import type { ReplicaAnswer, ReplicaReads } from "./replica-reads.ts";
import type { ReplicaState } from "./replica-state.ts";

interface ReplicaFirstStoreOptions {
  readonly state: ReplicaState;
  readonly replica: ReplicaReads;
  readonly primary: StatusStore;
  readonly failover: Failover;
  /** Called for each id that the replica has answered. */
  readonly onReplicaRead: () => void;
}

const noAnswers: ReadonlyMap<ReqId, ReplicaAnswer> = new Map();

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
        if (call.cancelled || !isUnavailable(error) || answer === "missing") throw error;
        const outcome = (await failover.findMany(new Map([[reqId, error]]), call)).get(reqId);
        if (outcome instanceof StatusError) throw outcome;
        return outcome;
      }
    },
    poll: (reqIds, call) => primary.poll(reqIds, call),
    async findMany(reqIds, call) {
      const outcomes = new Map<ReqId, StatusOutcome>(reqIds.map((reqId) => [reqId, undefined]));
      const answers =
        state.isServing && !call.cancelled ? await replica.findMany([...outcomes.keys()], call) : noAnswers;
      for (const [reqId, answer] of answers) {
        if (typeof answer !== "object") continue;
        outcomes.set(reqId, answer);
        onReplicaRead();
      }
      const unread = [...outcomes.keys()].filter((reqId) => typeof answers.get(reqId) !== "object");
      if (unread.length === 0) return outcomes;
      const unavailable = new Map<ReqId, StatusError>();
      for (const [reqId, outcome] of await primary.findMany(unread, call)) {
        outcomes.set(reqId, outcome);
        // Of a row that the replica lacks, only the primary can tell whether it exists.
        if (isUnavailable(outcome) && answers.get(reqId) !== "missing") unavailable.set(reqId, outcome);
      }
      if (unavailable.size === 0) return outcomes;
      for (const [reqId, outcome] of await failover.findMany(unavailable, call)) outcomes.set(reqId, outcome);
      return outcomes;
    },
  };
}

function isUnavailable(outcome: unknown): outcome is StatusError {
  return outcome instanceof StatusError && outcome.reason === "DATASTORE_UNAVAILABLE";
}
