import { StatusError } from "../../status/errors.ts";
import type { StatusStore } from "../../status/status-store.ts";
import { type Connections, openConnections } from "../connections/connections.ts";
import type { PoolOptions } from "../connections/pool.ts";
import type { Database } from "../database.ts";
import { createReader } from "../reads/reader.ts";
import { createStatusStore, type StatusStoreOptions } from "../reads/status-store.ts";
import { createFailover } from "./failover.ts";
import { createFreshness } from "./freshness.ts";
import { createReplicaFirstStore } from "./replica-first-store.ts";
import { createReplicaReads, type ReadMany, type ReaskCause } from "./replica-reads.ts";
import { createReplicaState } from "./replica-state.ts";

interface ReplicaOptions {
  /** No answer is older than this, in milliseconds. */
  readonly maxStaleness: number;
  /** Called for each id that is answered. */
  readonly onRead?: (role: "replica" | "primary") => void;
  /** Called for each id that the replica was asked for, and the primary is asked for then. */
  readonly onReask?: (cause: ReaskCause) => void;
  /** Called after the first probe and at each change. @param cause why it is suspended. Absent: it serves. */
  readonly onChange?: (cause?: unknown) => void;
}

/** Reads statuses from a replica of a primary, as long as that makes no difference. */
export interface Replica extends AsyncDisposable {
  readonly statuses: StatusStore;
  /** See {@link Connections.changeUrl}. */
  changeUrl(url: string): void;
  /** Whether calls go to the replica now. */
  serving(): boolean;
  /** Whether an answer of it could be used now: the primary's position is known that far back. Asks nothing. */
  isWithinBound(): boolean;
  /** Whether it serves and is within its bound; probes it when it is suspended. Never rejects. */
  becomesCurrent(): Promise<boolean>;
}

/** The limits, in milliseconds, of how often the primary is asked for its position and the replica is probed. */
const shortestInterval = 20;
const longestInterval = 250;

/**
 * What the replica lacks is always asked again of the primary, and so is whatever it cannot answer in time or without
 * being behind (each answer is checked: see freshness.ts). A suspended replica is not asked at all until it has answered
 * a probe, which it is sent several times a second.
 *
 * @param primary stays the caller's.
 * @param options how to reach the replica, which need not be there yet.
 */
export function openReplica(
  primary: Database,
  options: PoolOptions & StatusStoreOptions & ReplicaOptions,
): Replica {
  const { maxStaleness, onRead = () => {}, onReask = () => {}, onChange = () => {} } = options;
  const { engine } = primary;
  const interval = Math.min(Math.max(maxStaleness / 4, shortestInterval), longestInterval);
  const freshness = createFreshness(maxStaleness);
  const connections = openConnections(options);
  const state = createReplicaState({
    maxStaleness,
    interval,
    freshness,
    primary: primary.reader(),
    replica: createReader(connections, { freshnessCheck: freshness }),
    replicaConnections: connections,
    onChange,
  });
  // What fails here is asked again, and counted as that.
  const ofReplica = { ...options, engine, freshnessCheck: freshness, onFailure() {} };
  const replica = createReplicaReads({
    statuses: createStatusStore(connections, ofReplica),
    state,
    freshness,
    engine,
    timeout: interval,
    onReask,
  });
  const ofPrimary = countReads(primary.statuses, () => onRead("primary"));
  const onReplicaRead = () => onRead("replica");
  const failover = createFailover({
    replica,
    freshness,
    primary: ofPrimary,
    isPrimaryUnavailable: primary.isUnavailable,
    onReplicaRead,
  });
  return {
    statuses: createReplicaFirstStore({ state, replica, primary: ofPrimary, failover, onReplicaRead }),
    changeUrl: connections.changeUrl,
    serving: () => state.isServing,
    isWithinBound: freshness.isWithinBound,
    becomesCurrent: state.becomesCurrent,
    async [Symbol.asyncDispose]() {
      state[Symbol.dispose]();
      await connections[Symbol.asyncDispose]();
    },
  };
}

/** @param onRead called for each id whose outcome is no error. */
function countReads(statuses: StatusStore, onRead: () => void): StatusStore {
  function countMany<Outcome>(read: ReadMany<Outcome>): ReadMany<Outcome> {
    return async (reqIds, call) => {
      const outcomes = await read(reqIds, call);
      for (const outcome of outcomes.values()) if (!(outcome instanceof StatusError)) onRead();
      return outcomes;
    };
  }
  return {
    async find(reqId, call) {
      const status = await statuses.find(reqId, call);
      onRead();
      return status;
    },
    findMany: countMany(statuses.findMany),
    poll: countMany(statuses.poll),
  };
}
