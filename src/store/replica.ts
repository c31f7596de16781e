import type { CompiledQuery } from "kysely";
import { Call } from "../status/call.ts";
import type { StatusStore } from "../status/service.ts";
import { type JobStatus, type ReqId, StatusError } from "../status/status.ts";
import { openConnections } from "./connections.ts";
import type { Database } from "./database.ts";
import { createFreshness, identityQuery, positionQuery } from "./freshness.ts";
import type { PoolOptions } from "./pool.ts";
import { createReader, type Reader, StaleReplica } from "./reader.ts";
import { createStatusStore, type StatusStoreOptions } from "./status-store.ts";
import type { Row } from "./text-query.ts";

/** Why the primary was asked for what the replica had been asked for. */
type ReaskCause = "missing" | "stale" | "slow" | "failed";

interface ReplicaOptions {
  /** No answer is older than this, in milliseconds. */
  readonly maxStaleness: number;
  /** Told of each call, once it is known who is to answer it. */
  readonly onRead?: (role: "replica" | "primary") => void;
  readonly onReask?: (cause: ReaskCause) => void;
  /** Told of the first finding and of each change; without a cause, the replica serves. */
  readonly onChange?: (cause?: unknown) => void;
}

/** Reads statuses from a replica of a primary, as long as that makes no difference. */
export interface Replica extends AsyncDisposable {
  readonly statuses: StatusStore;
  /** Whether calls go to the replica now. */
  serving(): boolean;
}

/** The limits, in milliseconds, of how often both are asked how far they are. */
const shortestInterval = 20;
const longestInterval = 250;
/** The longest, in milliseconds, that the primary may take to say how far it is. */
const longestSample = 1_000;
/** So often is a replica in doubt asked for one call when there is no primary. */
const lastResorts = 4;

/**
 * A miss is always asked again of the primary, and so is whatever the replica cannot answer in time or without
 * being behind (each answer proves that itself: see freshness.ts). A replica in doubt is not asked at all
 * until it has answered a question of ours, a few times a second.
 *
 * @param primary stays the caller's.
 * @param options how to reach the replica, which need not be there yet.
 */
export function openReplica(
  primary: Database,
  options: PoolOptions & StatusStoreOptions & ReplicaOptions,
): Replica {
  const { maxStaleness, onRead = () => {}, onReask = () => {}, onChange = () => {} } = options;
  const interval = Math.min(Math.max(maxStaleness / 4, shortestInterval), longestInterval);
  const freshness = createFreshness(maxStaleness, options.ttl);
  const { pool, db, ...connections } = openConnections(options);
  // What fails here is asked again, and counted as that.
  const statuses = createStatusStore(db, pool, { ...options, proof: freshness, onFailure: () => {} });
  const readers = { primary: primary.reader(), replica: createReader(pool, { proof: freshness }) };
  /** Undefined: not known yet. */
  let found: "serving" | "not serving" | undefined;
  let inDoubt = true;
  let probing = false;
  let sampleFailure: Error | undefined;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  function settle(cause?: unknown): void {
    inDoubt = cause !== undefined;
    const finding = inDoubt ? "not serving" : "serving";
    if (finding === found || closed) return;
    found = finding;
    onChange(cause);
  }

  async function sample(): Promise<void> {
    const at = performance.now();
    try {
      const [row] = await ask(readers.primary, positionQuery, Math.min(maxStaleness, longestSample));
      freshness.note(row, at);
      sampleFailure = undefined;
    } catch (cause) {
      sampleFailure = new Error("the primary does not say how far it is", { cause });
    }
  }

  async function probe(): Promise<void> {
    if (probing) return;
    probing = true;
    try {
      const [row] = await ask(readers.replica, identityQuery, interval);
      freshness.recognize(row);
      settle();
    } catch (error) {
      settle(sampleFailure ?? error);
    } finally {
      probing = false;
    }
  }

  async function watch(): Promise<void> {
    const due = performance.now() + interval;
    await sample();
    // A replica that does not answer must not hold up the next sample.
    void probe();
    if (!closed) timer = setTimeout(watch, Math.max(1, due - performance.now())).unref();
  }

  /** @returns undefined when the primary is to be asked. */
  async function askReplica(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    const now = performance.now();
    // The other half of its time is the primary's.
    const attempt = new Call(now + Math.min(interval, (call.deadline - now) / 2));
    call.worker = attempt;
    try {
      const status = await statuses.find(reqId, attempt);
      if (status !== undefined && freshness.isLive(status.createdAt)) return status;
      onReask("missing");
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      inDoubt = true;
      onReask(causeOf(error));
    } finally {
      call.worker = undefined;
    }
    return undefined;
  }

  async function find(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    if (!inDoubt && !call.cancelled) {
      const status = await askReplica(reqId, call);
      if (status !== undefined) {
        onRead("replica");
        return status;
      }
    }
    try {
      const status = await primary.statuses.find(reqId, call);
      onRead("primary");
      return status;
    } catch (error) {
      const isGone = error instanceof StatusError && error.reason === "DATASTORE_UNAVAILABLE";
      const status = isGone ? await askDoubtedReplica(reqId, call) : undefined;
      onRead(status === undefined ? "primary" : "replica");
      if (status === undefined) throw error;
      return status;
    }
  }

  /**
   * When there is no primary, a replica in doubt is better than none: each answer proves itself. While a primary is
   * replaced, connections behind a read-only port are lost with the old one, and others lead to the new one before that
   * is known; each of these is used once.
   */
  async function askDoubtedReplica(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    const giveUpAt = performance.now() + interval;
    for (let tries = 0; inDoubt && tries < lastResorts && freshness.isProvable(); tries++) {
      const status = await askReplica(reqId, call);
      if (status !== undefined || performance.now() > giveUpAt) return status;
    }
    return undefined;
  }

  void watch();
  return {
    statuses: { find },
    serving: () => !inDoubt,
    async [Symbol.asyncDispose]() {
      closed = true;
      inDoubt = true;
      clearTimeout(timer);
      await connections[Symbol.asyncDispose]();
    },
  };
}

function causeOf(error: StatusError): ReaskCause {
  if (error.reason === "DEADLINE_EXCEEDED") return "slow";
  return error.cause instanceof StaleReplica ? "stale" : "failed";
}

/** @throws what the driver says; Error when there was no answer in time. */
async function ask(reader: Reader, query: CompiledQuery, timeout: number): Promise<readonly Row[]> {
  const statement = reader.start(query);
  let late = false;
  const patience = setTimeout(() => {
    late = true;
    statement.cancel();
  }, timeout);
  try {
    const rows = await statement.rows;
    if (!late) return rows;
  } catch (error) {
    if (!late) throw error;
  } finally {
    clearTimeout(patience);
    reader.rest();
  }
  throw new Error(`no answer within ${timeout} ms`);
}
