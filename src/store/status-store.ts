import { type CompiledQuery, type Kysely, sql } from "kysely";
import type pg from "pg";
import type { Call } from "../status/call.ts";
import type { StatusStore } from "../status/service.ts";
import { type JobState, type JobStatus, type ReqId, StatusError } from "../status/status.ts";
import { type Row, type Statement, startStatement } from "./statement.ts";
import type { Tables } from "./tables.ts";

export interface StatusStoreOptions {
  /** How long after its creation a status can be read, in milliseconds, by the database's clock. */
  readonly ttl: number;
  /** So many waiting ids are asked at once, without waiting for the end of the event loop's turn. */
  readonly flushAt?: number;
  /** So many statements run at the same time. What comes meanwhile shares the next one. */
  readonly maxInFlight?: number;
  /** Told of each statement that failed. */
  readonly onFailure?: (error: unknown) => void;
}

/** Ids in one statement at most. */
const maxBatch = 256;

/** How often, in milliseconds, waiting calls are compared with the clock. */
const sweepInterval = 10;

/** One call that waits for its row. */
interface Waiter {
  readonly reqId: ReqId;
  readonly call: Call;
  readonly resolve: (status: JobStatus | undefined) => void;
  readonly reject: (reason: unknown) => void;
  batch: Batch | undefined;
  settled: boolean;
}

/** Calls that share a statement. */
interface Batch {
  readonly waiters: readonly Waiter[];
  unsettled: number;
  statement: Statement | undefined;
}

/**
 * Reads statuses from PostgreSQL: many callers, one query.
 *
 * Calls that wait at the same moment become one statement. Nothing is remembered between statements, so a
 * status is always read after the call that asks for it came in.
 */
export function createStatusStore(
  db: Kysely<Tables>,
  pool: pg.Pool,
  options: StatusStoreOptions,
): StatusStore {
  const { flushAt = 16, maxInFlight = 2, onFailure = () => {} } = options;
  const select = selectStatuses(db, options.ttl);
  const batches = new Set<Batch>();
  let waiting: Waiter[] = [];
  let scheduled = false;
  let sweeper: NodeJS.Timeout | undefined;

  function find(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    if (call.cancelled) return Promise.reject(call.reason);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { reqId, call, resolve, reject, batch: undefined, settled: false };
      call.onCancel = (reason) => giveUp(waiter, reason);
      waiting.push(waiter);
      sweeper ??= setInterval(sweep, sweepInterval).unref();
      if (waiting.length >= flushAt) flush();
      else if (!scheduled) {
        scheduled = true;
        setImmediate(flushScheduled);
      }
    });
  }

  function flushScheduled(): void {
    scheduled = false;
    flush();
  }

  function flush(): void {
    while (waiting.length > 0 && batches.size < maxInFlight) {
      const waiters = waiting.slice(0, maxBatch).filter((waiter) => !waiter.settled);
      waiting = waiting.slice(maxBatch);
      if (waiters.length > 0) void ask(waiters);
    }
  }

  async function ask(waiters: readonly Waiter[]): Promise<void> {
    const batch: Batch = { waiters, unsettled: waiters.length, statement: undefined };
    for (const waiter of waiters) waiter.batch = batch;
    batches.add(batch);
    try {
      const ids = new Set(waiters.map((waiter) => waiter.reqId));
      batch.statement = startStatement(pool, select([...ids]));
      answer(waiters, await batch.statement.rows);
    } catch (cause) {
      if (batch.unsettled > 0) onFailure(cause);
      const failure = new StatusError("DATASTORE_UNAVAILABLE", "the status could not be read (try again)", {
        cause,
      });
      for (const waiter of waiters) settle(waiter)?.reject(failure);
    } finally {
      batches.delete(batch);
      flush();
    }
  }

  function answer(waiters: readonly Waiter[], rows: readonly Row[]): void {
    const found = new Map(rows.map((row) => [row[0] as ReqId, row]));
    for (const waiter of waiters) {
      const row = found.get(waiter.reqId);
      settle(waiter)?.resolve(row && toJobStatus(row));
    }
  }

  /** Every deadline is kept by one timer, which lives only while there are calls. */
  function sweep(): void {
    const now = performance.now();
    if (waiting.length === 0 && batches.size === 0) {
      clearInterval(sweeper);
      sweeper = undefined;
    }
    for (const batch of batches) for (const waiter of batch.waiters) expire(waiter, now);
    for (const waiter of waiting) expire(waiter, now);
    waiting = waiting.filter((waiter) => !waiter.settled);
  }

  function expire(waiter: Waiter, now: number): void {
    if (waiter.settled || waiter.call.deadline > now) return;
    giveUp(waiter, new StatusError("DEADLINE_EXCEEDED", "the status could not be read in time"));
  }

  function giveUp(waiter: Waiter, reason: unknown): void {
    settle(waiter)?.reject(reason);
    // Nobody waits for this statement any more. The next one need not wait for it to end either.
    const { batch } = waiter;
    if (batch?.unsettled === 0 && batches.delete(batch)) {
      batch.statement?.cancel();
      flush();
    }
  }

  /** @returns the waiter, the first time; undefined when it has had its answer. */
  function settle(waiter: Waiter): Waiter | undefined {
    if (waiter.settled) return undefined;
    waiter.settled = true;
    waiter.call.onCancel = undefined;
    if (waiter.batch !== undefined) waiter.batch.unsettled--;
    return waiter;
  }

  return { find };
}

/** Compiled once; each statement puts its own ids in. One index probe an id. No join, no count: the hot path. */
function selectStatuses(db: Kysely<Tables>, ttl: number): (ids: readonly ReqId[]) => CompiledQuery {
  const compiled = db
    .selectFrom("memory_job")
    .select(["req_id", "status", "error", sql<number>`date_part('epoch', created_at)`.as("created_at")])
    .where("req_id", "=", sql<string>`any(${"{}"}::uuid[])`)
    .where("created_at", ">", sql<Date>`now() - make_interval(secs => ${ttl / 1000})`)
    .compile();
  return (ids) => ({ ...compiled, parameters: [`{${ids.join()}}`, ...compiled.parameters.slice(1)] });
}

function toJobStatus([, status, error, epoch]: Row): JobStatus {
  const createdAt = new Date(Number(epoch) * 1000);
  return typeof error === "string"
    ? { status: status as JobState, createdAt, error }
    : { status: status as JobState, createdAt };
}
