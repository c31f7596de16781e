import type { Call } from "../../status/call.ts";
import { overloaded } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { StatusStore } from "../../status/status-store.ts";
import type { Breaker } from "../connections/breaker.ts";
import type { Connections } from "../connections/connections.ts";
import type { Engine } from "../schema/engine.ts";
import { Batch } from "./batch.ts";
import { createReader, type Proof } from "./reader.ts";
import { createSingles, type Outcome } from "./singles.ts";
import { isShardLost, mayConcernOneId, toStatusError } from "./statement-errors.ts";
import { statusQueries } from "./status-query.ts";
import type { Row } from "./text-query.ts";

export interface StatusStoreOptions {
  /** So many waiting ids are asked at once, without waiting for the end of the event loop's turn. */
  readonly flushAt?: number;
  /** So many statements run at the same time. What comes meanwhile shares the next one. */
  readonly maxInFlight?: number;
  /** Ids in one statement at most. */
  readonly maxBatch?: number;
  /** Ids that wait for a statement at most. Calls for more are told to try again. */
  readonly maxQueued?: number;
  /** Told of each statement, and for how many ids it is. */
  readonly onStatement?: (ids: number) => void;
  /** Told of each statement that failed. */
  readonly onFailure?: (error: unknown) => void;
  /** Told of each statement that is run once more, since its connection was bad. */
  readonly onRetry?: () => void;
  /** What a replica must show with each statement. */
  readonly proof?: Proof;
  /** What is known of the engine. Absent: it is a plain server. */
  readonly engine?: Engine;
}

/** For a reader that always asks. */
const neverOpen: Breaker = { refusal: undefined, sent() {}, answered() {}, failed() {}, check() {} };

/** How often, in milliseconds, waiting calls are compared with the clock. */
const sweepInterval = 10;

/** How long, in milliseconds, after a server behind the engine was found to be gone, each id is asked for by itself. */
const singlyFor = 1_000;

/**
 * When the first ids of a statement that failed, this number of them, all fail alike, too, the rest fail unasked. Where the table lies on
 * three servers and one is gone, four ids taken at random are all on that one once in 81 times, twelve once in 500,000.
 */
const mostAlike = 4;
const mostAlikeDistributed = 12;

/**
 * Reads statuses from PostgreSQL: many callers, one query.
 *
 * Calls that wait at the same moment become one statement. Nothing is remembered between statements, so a
 * status is always read after the call that asks for it came in. A statement that fails for one id fails no other: its
 * ids are asked for one by one.
 */
export function createStatusStore(
  connections: Connections,
  options: StatusStoreOptions = {},
  breaker: Breaker = neverOpen,
): StatusStore {
  const {
    flushAt = 32,
    maxInFlight = 2,
    maxBatch = 256,
    maxQueued = 512,
    onStatement = () => {},
    onFailure = () => {},
    onRetry = () => {},
    proof,
    engine = { isDistributed: false },
  } = options;
  const queries = statusQueries(connections.db);
  const reader = createReader(connections, {
    onSent: breaker.sent,
    onRetry,
    ...(proof !== undefined && { proof }),
  });
  const singles = createSingles(ask, {
    mostAlike: () => (engine.isDistributed ? mostAlikeDistributed : mostAlike),
    onRoom: flush,
  });
  const asking: Batch[] = [];
  /** In order. Calls join the last one. */
  const waiting: Batch[] = [];
  let singlyUntil = 0;
  let scheduled = false;
  let sweeper: NodeJS.Timeout | undefined;

  function find(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    if (call.cancelled) return Promise.reject(call.reason);
    if (breaker.refusal !== undefined) return Promise.reject(breaker.refusal);
    if (queued() >= maxQueued) return Promise.reject(overloaded("MAX_QUEUED"));
    let batch = waiting.at(-1);
    if (batch === undefined || batch.size >= maxBatch) {
      batch = new Batch();
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

  function queued(): number {
    let ids = singles.waiting();
    for (const batch of waiting) ids += batch.size;
    return ids;
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
      // Calls that are too late are not asked for.
      const now = performance.now();
      batch.giveUpLate(now);
      if (batch.size === 0) continue;
      if (now < singlyUntil) singles.ask(batch.split());
      else void askTogether(batch);
    }
  }

  /**
   * While a statement is under way, another one leaves when it is full: a call that comes alone finds company until
   * the first is answered. What has waited for longer than that usually takes is sent by the sweep.
   */
  function hasTurn(batch: Batch): boolean {
    if (singlyUntil > 0 && performance.now() < singlyUntil) return singles.haveRoom;
    if (asking.length === 0) return true;
    return asking.length < maxInFlight && (batch.size >= flushAt || batch.isOverdue);
  }

  async function askTogether(batch: Batch): Promise<void> {
    asking.push(batch);
    const ids = batch.size;
    const outcome = await ask(batch, () => {
      asking.splice(asking.indexOf(batch), 1);
      flush();
    });
    if (typeof outcome === "string") return;
    if (ids > 1 && mayConcernOneId(outcome.failure, engine)) singles.ask(batch.split());
    else batch.fail(toStatusError(outcome.failure, ids));
  }

  /**
   * Sends the statement of a batch, and settles the calls that it has an answer for.
   *
   * @param onOver told when it is over, before its calls go on: the next statement need not wait until their answers are
   *   written. A statement that no call waits for any more is over, too.
   */
  async function ask(batch: Batch, onOver: () => void): Promise<Outcome> {
    const startedAt = performance.now();
    const ids = batch.ids();
    onStatement(ids.length);
    const statement = reader.start(queries.byIds(ids));
    batch.sent(statement, onOver);
    let rows: readonly Row[];
    try {
      rows = await statement.rows;
    } catch (failure) {
      // That it was cancelled is no answer: a table that is locked cancels, and answers nothing.
      if (batch.isAbandoned) return "abandoned";
      onFailure(failure);
      breaker.failed(failure, startedAt);
      if (isShardLost(failure, engine)) singlyUntil = performance.now() + singlyFor;
      batch.over();
      return { failure };
    }
    breaker.answered();
    if (batch.isAbandoned) return "abandoned";
    try {
      batch.resolve(rows, ids);
      return "answered";
    } catch (failure) {
      onFailure(failure);
      return { failure };
    } finally {
      batch.over();
    }
  }

  /** Every deadline is kept by one timer, which lives only while there are calls. */
  function sweep(): void {
    const unanswered = [...asking, ...waiting, ...singles.unanswered()];
    if (unanswered.length === 0) {
      clearInterval(sweeper);
      sweeper = undefined;
      reader.rest();
      return;
    }
    const now = performance.now();
    breaker.check(now);
    for (const batch of unanswered) batch.giveUpLate(now);
    for (const batch of waiting) batch.isOverdue = true;
    flush();
  }

  return { find };
}
