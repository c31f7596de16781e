import { type CompiledQuery, type Kysely, sql } from "kysely";
import type pg from "pg";
import type { Call } from "../status/call.ts";
import type { StatusStore } from "../status/service.ts";
import { type JobStatus, overloaded, type ReqId, StatusError } from "../status/status.ts";
import { Batch } from "./batch.ts";
import type { Breaker } from "./breaker.ts";
import { createReader, type Proof } from "./reader.ts";
import type { Tables } from "./tables.ts";

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
    flushAt = 32,
    maxInFlight = 2,
    maxBatch = 256,
    maxQueued = 512,
    onStatement = () => {},
    onFailure = () => {},
  } = options;
  const select = selectStatuses(db, options.ttl);
  const reader = createReader(pool, options);
  const asking: Batch[] = [];
  /** In order. Calls join the last one. */
  const waiting: Batch[] = [];
  let scheduled = false;
  let sweeper: NodeJS.Timeout | undefined;

  function find(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    if (call.cancelled) return Promise.reject(call.reason);
    if (breaker.refusal !== undefined) return Promise.reject(breaker.refusal);
    let batch = waiting.at(-1);
    if (batch !== undefined && (waiting.length - 1) * maxBatch + batch.size >= maxQueued) {
      return Promise.reject(overloaded);
    }
    if (batch === undefined || batch.size >= maxBatch) {
      batch = new Batch(abandon);
      waiting.push(batch);
    }
    const answer = batch.add(reqId, call);
    sweeper ??= setInterval(sweep, sweepInterval).unref();
    if (batch.size >= flushAt) flush();
    else if (!scheduled) {
      scheduled = true;
      setImmediate(flushScheduled);
    }
    return answer;
  }

  function flushScheduled(): void {
    scheduled = false;
    flush();
  }

  function flush(): void {
    for (let batch = waiting[0]; batch !== undefined && hasTurn(batch); batch = waiting[0]) {
      waiting.shift();
      if (breaker.refusal !== undefined) {
        batch.fail(breaker.refusal);
        continue;
      }
      // Who is too late is not asked for.
      batch.giveUpLate(performance.now());
      if (batch.isWanted) void ask(batch);
    }
  }

  /**
   * While a statement is under way, another one leaves when it is full: a call that comes alone finds company until
   * the first is answered. What has waited for longer than that usually takes is sent by the sweep.
   */
  function hasTurn(batch: Batch): boolean {
    if (asking.length === 0) return true;
    return asking.length < maxInFlight && (batch.size >= flushAt || batch.isOverdue);
  }

  async function ask(batch: Batch): Promise<void> {
    asking.push(batch);
    batch.startedAt = performance.now();
    const ids = batch.ids();
    onStatement(ids.length);
    try {
      batch.statement = reader.start(select(ids));
      const rows = await batch.statement.rows;
      if (!asking.includes(batch)) return;
      breaker.answered();
      batch.resolve(rows);
    } catch (cause) {
      if (!asking.includes(batch)) return;
      onFailure(cause);
      breaker.failed(cause, batch.startedAt);
      const message = "the status could not be read (try again)";
      batch.fail(new StatusError("DATASTORE_UNAVAILABLE", message, { cause }));
    } finally {
      if (stopAsking(batch)) flush();
    }
  }

  /** @returns whether it was asked. */
  function stopAsking(batch: Batch): boolean {
    const index = asking.indexOf(batch);
    if (index !== -1) asking.splice(index, 1);
    return index !== -1;
  }

  /** Every deadline is kept by one timer, which lives only while there are calls. */
  function sweep(): void {
    if (waiting.length === 0 && asking.length === 0) {
      clearInterval(sweeper);
      sweeper = undefined;
      reader.rest();
      return;
    }
    const now = performance.now();
    for (const batch of [...asking, ...waiting]) batch.giveUpLate(now);
    for (const batch of waiting) batch.isOverdue = true;
    flush();
  }

  /** Nobody waits for this batch any more. The next one need not wait for its statement to end either. */
  function abandon(batch: Batch): void {
    if (!stopAsking(batch)) return;
    batch.statement?.cancel();
    breaker.abandoned(batch.startedAt);
    flush();
  }

  return { find };
}

/** Compiled once; each statement puts its own ids in. One index probe an id. No join, no count: the hot path. */
function selectStatuses(db: Kysely<Tables>, ttl: number): (ids: readonly ReqId[]) => CompiledQuery {
  const compiled = db
    .selectFrom("memory_job")
    .select(["req_id", "status", "error", sql<number>`date_part('epoch', created_at)`.as("created_at")])
    .where("req_id", "=", sql<string>`any(${"{}"}::uuid[])`)
    .where("created_at", ">", sql<Date>`now() - ${`${ttl / 1000} s`}::interval`)
    .compile();
  const [, interval] = compiled.parameters;
  return (ids) => ({ ...compiled, parameters: [`{${ids.join()}}`, interval] });
}
