import { setTimeout as pause } from "node:timers/promises";
import type { CompiledQuery } from "kysely";
import { Call } from "../../status/call.ts";
import { StatusError } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { StatusStore } from "../../status/status-store.ts";
import { openConnections } from "../connections/connections.ts";
import type { PoolOptions } from "../connections/pool.ts";
import type { Database } from "../database.ts";
import { createReader, NotSent, type Reader, StaleReplica } from "../reads/reader.ts";
import { mayConcernOneId } from "../reads/statement-errors.ts";
import { createStatusStore, type StatusStoreOptions } from "../reads/status-store.ts";
import type { Row } from "../reads/text-query.ts";
import { createFreshness, identityQuery, positionQuery } from "./freshness.ts";

/**
 * Why the primary is asked for what the replica was asked for first: it lacks the row, is behind, took its full time, failed,
 * or cannot decode the row; or the call had too little time left, or was one too many for us.
 */
type ReaskCause = "missing" | "stale" | "slow" | "failed" | "unreadable" | "deadline" | "shed";

/** What counts against the replica. A caller's own deadline does not, nor does our own shedding, nor one row. */
const suspending: ReadonlySet<ReaskCause> = new Set(["stale", "slow", "failed"]);

interface ReplicaOptions {
  /** No answer is older than this, in milliseconds. */
  readonly maxStaleness: number;
  /** Told of each call that is answered, and by which of the two. */
  readonly onRead?: (role: "replica" | "primary") => void;
  readonly onReask?: (cause: ReaskCause) => void;
  /** Told of the first finding and of each change; without a cause, the replica serves. With one, it is suspended. */
  readonly onChange?: (cause?: unknown) => void;
}

/** Reads statuses from a replica of a primary, as long as that makes no difference. */
export interface Replica extends AsyncDisposable {
  readonly statuses: StatusStore;
  /** Whether calls go to the replica now. */
  serving(): boolean;
  /** Whether its bound has not ended: an answer could prove itself now. Asks nothing. */
  isWithinBound(): boolean;
  /** Whether it answers, as far as is known, and is within its bound now; asks it when it is suspended. Never rejects. */
  becomesCurrent(): Promise<boolean>;
}

/** The limits, in milliseconds, of how often both are asked how far they are. */
const shortestInterval = 20;
const longestInterval = 250;
/** The longest, in milliseconds, that the primary may take to say how far it is. */
const longestSample = 1_000;
/** So many attempts to get an answer of the replica, each on another connection, follow at once when there is no primary. */
const lastResorts = 4;
/** How long, in milliseconds, a call without an answer of either is repeated, and the pause once attempts are many. */
const replacementTime = 1_000;
const replacementPause = 50;

/**
 * A miss is always asked again of the primary, and so is whatever the replica cannot answer in time or without
 * being behind (each answer proves that itself: see freshness.ts). A suspended replica is not asked at all
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
  const freshness = createFreshness(maxStaleness);
  const connections = openConnections(options);
  // What fails here is asked again, and counted as that.
  const statuses = createStatusStore(connections, {
    ...options,
    engine: primary.engine,
    proof: freshness,
    onFailure: () => {},
  });
  const readers = { primary: primary.reader(), replica: createReader(connections, { proof: freshness }) };
  /** Undefined: not known yet. */
  let suspended: boolean | undefined;
  let probing: Promise<void> | undefined;
  let sampleFailure: Error | undefined;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  /** Every change of the replica's state. @param cause why it is suspended. Absent: it serves. */
  function settle(cause?: unknown): void {
    const before = suspended;
    suspended = cause !== undefined;
    if (suspended !== before && !closed) onChange(cause);
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

  async function probeNow(): Promise<void> {
    try {
      const [row] = await ask(readers.replica, identityQuery, interval, () => connections.areAwaited);
      freshness.recognize(row);
      settle();
    } catch (error) {
      // While our own connections are all in use, nothing was found.
      if (!(error instanceof NotSent)) settle(sampleFailure ?? error);
    } finally {
      probing = undefined;
    }
  }

  /** One at a time, whose outcome all callers share. */
  function probe(): Promise<void> {
    probing ??= probeNow();
    return probing;
  }

  async function watch(): Promise<void> {
    const due = performance.now() + interval;
    await sample();
    // A replica that does not answer must not hold up the next sample.
    void probe();
    if (!closed) timer = setTimeout(watch, Math.max(1, due - performance.now())).unref();
  }

  /** @returns "missing" when the replica lacks the row, undefined when it does not tell: the primary is to be asked. */
  async function askReplica(reqId: ReqId, call: Call): Promise<JobStatus | "missing" | undefined> {
    const now = performance.now();
    // The other half of its time is the primary's.
    const half = (call.deadline - now) / 2;
    const attempt = new Call(now + Math.min(interval, half));
    call.attach(attempt);
    try {
      const status = await statuses.find(reqId, attempt);
      if (status !== undefined && freshness.isLive(status.createdAt)) return status;
      onReask("missing");
      return "missing";
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      const cause = causeOf(error, half >= interval);
      if (suspending.has(cause) && !concernsOneId(error)) settle(error.cause ?? noAnswer(interval));
      onReask(cause);
    } finally {
      call.detach(attempt);
    }
    return undefined;
  }

  /** A shard that is gone, behind the replica, or a row that it cannot decode, says nothing about the others. */
  function concernsOneId({ cause }: StatusError): boolean {
    return !(cause instanceof StaleReplica) && mayConcernOneId(cause, primary.engine);
  }

  async function askPrimary(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    const status = await primary.statuses.find(reqId, call);
    onRead("primary");
    return status;
  }

  async function find(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    const found = suspended === false && !call.cancelled ? await askReplica(reqId, call) : undefined;
    if (isStatus(found)) {
      onRead("replica");
      return found;
    }
    try {
      return await askPrimary(reqId, call);
    } catch (error) {
      const isGone = error instanceof StatusError && error.reason === "DATASTORE_UNAVAILABLE";
      if (!isGone || found === "missing") throw error;
      return await askAgain(reqId, call, error);
    }
  }

  /**
   * When there is no primary, a suspended replica is better than none: each answer proves itself. While a primary is
   * replaced, connections behind a read-only port are lost with the old one, and others lead to the new one before that
   * is known; each of these is used once. For a moment there may be nothing to prove an answer with, since the standbys
   * follow the new primary already and DATABASE_URL does not lead there yet: then the call waits for either.
   *
   * @param error of the primary: thrown when there is no answer.
   */
  async function askAgain(reqId: ReqId, call: Call, error: StatusError): Promise<JobStatus | undefined> {
    const giveUpAt = Math.min(performance.now() + replacementTime, call.deadline);
    let wasGone = primary.isGone();
    for (let tries = 1; freshness.isProvable() && !call.cancelled; tries++) {
      const found = await askReplica(reqId, call);
      if (isStatus(found)) {
        onRead("replica");
        return found;
      }
      if (found === "missing" || performance.now() + replacementPause > giveUpAt) break;
      if (wasGone && !primary.isGone()) return await askPrimary(reqId, call);
      wasGone = primary.isGone();
      if (tries < lastResorts) continue;
      // There is a primary, which answers with errors: nothing to wait for.
      if (!wasGone) break;
      await pause(replacementPause);
    }
    throw call.cancelled ? call.reason : error;
  }

  void watch();
  return {
    statuses: { find },
    serving: () => suspended === false,
    isWithinBound: freshness.isProvable,
    async becomesCurrent() {
      const giveUpAt = performance.now() + interval;
      for (let tries = 0; suspended !== false && tries < lastResorts && freshness.isProvable(); tries++) {
        await probe();
        if (performance.now() > giveUpAt) break;
      }
      return suspended === false && freshness.isProvable();
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      suspended = true;
      clearTimeout(timer);
      await connections[Symbol.asyncDispose]();
    },
  };
}

function isStatus(found: JobStatus | "missing" | undefined): found is JobStatus {
  return found !== undefined && found !== "missing";
}

function noAnswer(timeout: number): Error {
  return new Error(`no answer within ${timeout} ms`);
}

function causeOf({ reason, cause }: StatusError, hadFullTime: boolean): ReaskCause {
  if (reason === "DEADLINE_EXCEEDED") return hadFullTime ? "slow" : "deadline";
  if (reason === "OVERLOADED") return "shed";
  if (reason === "STATUS_UNREADABLE") return "unreadable";
  return cause instanceof StaleReplica ? "stale" : "failed";
}

/** @throws what the driver says; Error when there was no answer in time; NotSent when all connections were in use. */
async function ask(
  reader: Reader,
  query: CompiledQuery,
  timeout: number,
  areInUse = () => false,
): Promise<readonly Row[]> {
  const statement = reader.start(query);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    statement.cancel();
    late.reject(!statement.wasSent && areInUse() ? new NotSent() : noAnswer(timeout));
  }, timeout);
  try {
    return await Promise.race([statement.rows, late.promise]);
  } finally {
    clearTimeout(timer);
    reader.rest();
  }
}
