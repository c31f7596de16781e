import { type CompiledQuery, type Kysely, sql } from "kysely";
import type pg from "pg";
import type { Call } from "../status/call.ts";
import type { StatusStore } from "../status/service.ts";
import {
  deadlineExceeded,
  type JobState,
  type JobStatus,
  overloaded,
  type ReqId,
  StatusError,
} from "../status/status.ts";
import type { Breaker } from "./breaker.ts";
import { createReader, type Proof, type Statement } from "./reader.ts";
import type { Tables } from "./tables.ts";
import type { Row } from "./text-query.ts";

export interface StatusStoreOptions {
  /** How long after its creation a status can be read, in milliseconds, by the database's clock. */
  readonly ttl: number;
  /** So many waiting ids are asked at once, without waiting for the end of the event loop's turn. */
  readonly flushAt?: number;
  /** So many statements run at the same time. What comes meanwhile shares the next one. */
  readonly maxInFlight?: number;
  /** Ids in one statement at most. */
  readonly maxBatch?: number;
  /** Ids that wait for a statement at most. Who comes then is told to come again. */
  readonly maxQueued?: number;
  /** Told of each statement, and for how many ids it is. */
  readonly onStatement?: (ids: number) => void;
  /** Told of each statement that failed. */
  readonly onFailure?: (error: unknown) => void;
  /** Told of each statement that is run once more, since its connection was bad. */
  readonly onRetry?: () => void;
  /** What a replica must show with each statement. */
  readonly proof?: Proof;
}

/** For those who always want to ask. */
const neverOpen: Breaker = { refusal: undefined, answered() {}, failed() {}, abandoned() {} };

/** How often, in milliseconds, waiting calls are compared with the clock. */
const sweepInterval = 10;

/** One call that waits for its row. */
interface Waiter {
  readonly call: Call;
  readonly resolve: (status: JobStatus | undefined) => void;
  readonly reject: (reason: unknown) => void;
  readonly batch: Batch;
  /** Whoever asks for the same id in the same batch. */
  readonly next: Waiter | undefined;
  settled: boolean;
}

/** Calls that share a statement. */
interface Batch {
  readonly waiters: Map<ReqId, Waiter>;
  unsettled: number;
  /** Undefined: it waits for its turn. */
  statement: Statement | undefined;
  /** When its turn came, by `performance.now()`. */
  startedAt: number;
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
  breaker: Breaker = neverOpen,
): StatusStore {
  const {
    flushAt = 16,
    maxInFlight = 2,
    maxBatch = 256,
    maxQueued = 512,
    onStatement = () => {},
    onFailure = () => {},
  } = options;
  const select = selectStatuses(db, options.ttl);
  const reader = createReader(pool, options);
  const asking = new Set<Batch>();
  /** In order. Calls join the last one. */
  const waiting: Batch[] = [];
  let scheduled = false;
  let sweeper: NodeJS.Timeout | undefined;

  function find(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    if (call.cancelled) return Promise.reject(call.reason);
    if (call.deadline <= performance.now()) return Promise.reject(deadlineExceeded());
    if (breaker.refusal !== undefined) return Promise.reject(breaker.refusal);
    const last = waiting.at(-1);
    if (last !== undefined && (waiting.length - 1) * maxBatch + last.waiters.size >= maxQueued) {
      return Promise.reject(overloaded);
    }
    const batch = last !== undefined && last.waiters.size < maxBatch ? last : openBatch();
    const { promise, resolve, reject } = Promise.withResolvers<JobStatus | undefined>();
    const waiter: Waiter = { call, resolve, reject, batch, next: batch.waiters.get(reqId), settled: false };
    batch.waiters.set(reqId, waiter);
    batch.unsettled++;
    call.onCancel = (reason) => giveUp(waiter, reason);
    sweeper ??= setInterval(sweep, sweepInterval).unref();
    if (batch.waiters.size >= flushAt) flush();
    else if (!scheduled) {
      scheduled = true;
      setImmediate(flushScheduled);
    }
    return promise;
  }

  function openBatch(): Batch {
    const batch: Batch = { waiters: new Map(), unsettled: 0, statement: undefined, startedAt: 0 };
    waiting.push(batch);
    return batch;
  }

  function flushScheduled(): void {
    scheduled = false;
    flush();
  }

  function flush(): void {
    while (asking.size < maxInFlight) {
      const batch = waiting.shift();
      if (batch === undefined) return;
      if (breaker.refusal !== undefined) {
        rejectAll(batch, breaker.refusal);
        continue;
      }
      giveUpLate(batch);
      // What nobody waits for any more is not asked.
      for (const [reqId, first] of batch.waiters) if (!isWanted(first)) batch.waiters.delete(reqId);
      if (batch.unsettled > 0) void ask(batch);
    }
  }

  async function ask(batch: Batch): Promise<void> {
    asking.add(batch);
    batch.startedAt = performance.now();
    onStatement(batch.waiters.size);
    try {
      batch.statement = reader.start(select(batch.waiters.keys()));
      const rows = await batch.statement.rows;
      if (!asking.has(batch)) return;
      breaker.answered();
      for (const row of rows) {
        const reqId = row[0] as ReqId;
        const waiter = batch.waiters.get(reqId);
        // Better no answer than "not found" for the id that this row was meant for.
        if (waiter === undefined) throw new Error("the database answered with a row that was not asked for");
        resolveAll(waiter, toJobStatus(row));
        batch.waiters.delete(reqId);
      }
      for (const waiter of batch.waiters.values()) resolveAll(waiter, undefined);
    } catch (cause) {
      if (!asking.has(batch)) return;
      onFailure(cause);
      breaker.failed(cause, batch.startedAt);
      const message = "the status could not be read (try again)";
      rejectAll(batch, new StatusError("DATASTORE_UNAVAILABLE", message, { cause }));
    } finally {
      if (asking.delete(batch)) flush();
    }
  }

  /** Every deadline is kept by one timer, which lives only while there are calls. */
  function sweep(): void {
    if (waiting.length === 0 && asking.size === 0) {
      clearInterval(sweeper);
      sweeper = undefined;
      reader.rest();
      return;
    }
    for (const batch of [...asking, ...waiting]) giveUpLate(batch);
  }

  function giveUpLate(batch: Batch): void {
    const now = performance.now();
    for (const waiter of waitersOf(batch)) {
      if (!waiter.settled && waiter.call.deadline <= now) giveUp(waiter, deadlineExceeded());
    }
  }

  function giveUp(waiter: Waiter, reason: unknown): void {
    settle(waiter)?.reject(reason);
    const { batch } = waiter;
    // Nobody waits for this statement any more. The next one need not wait for it to end either.
    if (batch.unsettled === 0 && asking.delete(batch)) {
      batch.statement?.cancel();
      breaker.abandoned(batch.startedAt);
      flush();
    }
  }

  return { find };
}

function rejectAll(batch: Batch, failure: StatusError): void {
  for (const waiter of waitersOf(batch)) settle(waiter)?.reject(failure);
}

function resolveAll(first: Waiter | undefined, status: JobStatus | undefined): void {
  for (let waiter = first; waiter !== undefined; waiter = waiter.next) settle(waiter)?.resolve(status);
}

function isWanted(first: Waiter): boolean {
  for (let waiter: Waiter | undefined = first; waiter !== undefined; waiter = waiter.next) {
    if (!waiter.settled) return true;
  }
  return false;
}

function* waitersOf(batch: Batch): Iterable<Waiter> {
  for (const first of batch.waiters.values()) {
    for (let waiter: Waiter | undefined = first; waiter !== undefined; waiter = waiter.next) yield waiter;
  }
}

/** @returns the waiter, the first time; undefined when it has had its answer. */
function settle(waiter: Waiter): Waiter | undefined {
  if (waiter.settled) return undefined;
  waiter.settled = true;
  waiter.call.onCancel = undefined;
  waiter.batch.unsettled--;
  return waiter;
}

/** Compiled once; each statement puts its own ids in. One index probe an id. No join, no count: the hot path. */
function selectStatuses(db: Kysely<Tables>, ttl: number): (ids: Iterable<ReqId>) => CompiledQuery {
  const compiled = db
    .selectFrom("memory_job")
    .select(["req_id", "status", "error", sql<number>`date_part('epoch', created_at)`.as("created_at")])
    .where("req_id", "=", sql<string>`any(${"{}"}::uuid[])`)
    .where("created_at", ">", sql<Date>`now() - make_interval(secs => ${ttl / 1000})`)
    .compile();
  const seconds = String(compiled.parameters[1]);
  return (ids) => ({ ...compiled, parameters: [`{${[...ids].join()}}`, seconds] });
}

function toJobStatus([, status, error, epoch]: Row): JobStatus {
  const createdAt = new Date(Number(epoch) * 1000);
  return typeof error === "string"
    ? { status: status as JobState, createdAt, error }
    : { status: status as JobState, createdAt };
}
