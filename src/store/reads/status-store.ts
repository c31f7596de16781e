import type { Call } from "../../status/call.ts";
import { overloaded } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { StatusOutcome, StatusStore } from "../../status/status-store.ts";
import type { Breaker } from "../connections/breaker.ts";
import type { Connections } from "../connections/connections.ts";
import { Batch } from "./batch.ts";
import { type BatchReaderOptions, createBatchReader } from "./batch-reader.ts";
import { FindMany } from "./find-many.ts";
import { createSingleIdReads } from "./single-id-reads.ts";
import { isShardUnavailable, mayConcernOneId, toStatusError } from "./statement-errors.ts";

export interface StatusStoreOptions extends BatchReaderOptions {
  /** From how many waiting ids on a statement is sent at once, and not at the end of the event loop's turn. */
  readonly flushAt?: number;
  /** How many statements run at the same time. Ids that come meanwhile share the next one. */
  readonly maxInFlight?: number;
  /** How many ids one statement asks for at most. */
  readonly maxBatch?: number;
  /** How many ids wait for a statement at most. What comes beyond fails with `OVERLOADED`. */
  readonly maxQueued?: number;
}

/** For a store that sends its statements whatever became of those before. */
const neverOpen: Breaker = { refusal: undefined, sent() {}, answered() {}, failed() {}, check() {} };

/** How often, in milliseconds, the deadlines of waiting calls are compared with the clock. */
const sweepInterval = 10;

/** How long, in milliseconds, each id is read by itself after a server behind the engine was found to be unavailable. */
const oneByOneDuration = 1_000;

/**
 * When the first ids of a statement that failed, this number of them, all fail alike, too, the rest fail without being read.
 * Where the table is on three servers and one is unavailable, four ids taken at random are all on that one once in 81 times,
 * twelve once in 500,000.
 */
const maxAlikeFailures = 4;
const maxAlikeFailuresDistributed = 12;

/**
 * Reads statuses from PostgreSQL: many calls, one statement.
 *
 * Ids that wait at the same moment share a statement. Nothing is remembered between statements, so a status is always read
 * after the call that asks for it came in. A statement that fails for one id fails no other: its ids are read one by one.
 */
export function createStatusStore(
  connections: Connections,
  options: StatusStoreOptions = {},
  breaker: Breaker = neverOpen,
): StatusStore {
  const { flushAt = 32, maxInFlight = 2, maxBatch = 256, maxQueued = 512 } = options;
  const { engine = { isDistributed: false } } = options;
  const reader = createBatchReader(connections, { ...options, onFailure }, breaker);
  const singleIdReads = createSingleIdReads(reader, {
    maxAlikeFailures: () => (engine.isDistributed ? maxAlikeFailuresDistributed : maxAlikeFailures),
    onRoom: flush,
  });
  const inFlight: Batch[] = [];
  /** In order. Calls join the last one. */
  const waiting: Batch[] = [];
  let oneByOneUntil = 0;
  let scheduled = false;
  let sweeper: NodeJS.Timeout | undefined;

  function find(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    if (call.cancelled) return Promise.reject(call.reason);
    if (breaker.refusal !== undefined) return Promise.reject(breaker.refusal);
    if (queued() >= maxQueued) return Promise.reject(overloaded("MAX_QUEUED"));
    const batch = lastBatch();
    const answer = batch.add(reqId, call);
    flushSoon(batch);
    return answer;
  }

  function findMany(reqIds: readonly ReqId[], call: Call): Promise<ReadonlyMap<ReqId, StatusOutcome>> {
    if (call.cancelled) return Promise.reject(call.reason);
    const many = new FindMany(reqIds, call);
    let batch: Batch | undefined;
    for (const reqId of many.reqIds) {
      // A full batch leaves before the next id joins the queue: what can be sent does not count as queued.
      if (batch !== undefined && batch.size >= maxBatch) flushSoon(batch);
      if (breaker.refusal !== undefined) many.settle(reqId, breaker.refusal);
      else if (queued() >= maxQueued) many.settle(reqId, overloaded("MAX_QUEUED"));
      else {
        batch = lastBatch();
        batch.addOneOf(many, reqId);
      }
    }
    if (batch !== undefined) flushSoon(batch);
    return many.answer;
  }

  function queued(): number {
    let ids = singleIdReads.waiting();
    for (const batch of waiting) ids += batch.size;
    return ids;
  }

  /** @returns the batch that the next id joins. */
  function lastBatch(): Batch {
    const last = waiting.at(-1);
    if (last !== undefined && last.size < maxBatch) return last;
    const batch = new Batch();
    waiting.push(batch);
    return batch;
  }

  /** Sends a batch that is full at once, if a statement may be sent, and any other at the end of the event loop's turn. */
  function flushSoon(batch: Batch): void {
    sweeper ??= setInterval(sweep, sweepInterval).unref();
    if (batch.size >= flushAt) flush();
    else if (!scheduled) {
      scheduled = true;
      setImmediate(flushScheduled);
    }
  }

  function flushScheduled(): void {
    scheduled = false;
    flush();
  }

  function flush(): void {
    for (let batch = waiting[0]; batch !== undefined && maySend(batch); batch = waiting[0]) {
      waiting.shift();
      if (breaker.refusal !== undefined) {
        batch.fail(breaker.refusal);
        continue;
      }
      const now = performance.now();
      batch.expire(now);
      if (batch.size === 0) continue;
      if (now < oneByOneUntil) singleIdReads.start(batch.split());
      else void readTogether(batch);
    }
  }

  /**
   * While a statement runs, another one is sent when it is full: an id that comes alone is joined by others until the first
   * is answered. What has waited for longer than that usually takes is sent by the sweep.
   */
  function maySend(batch: Batch): boolean {
    if (oneByOneUntil > 0 && performance.now() < oneByOneUntil) return singleIdReads.haveRoom;
    if (inFlight.length === 0) return true;
    return inFlight.length < maxInFlight && (batch.size >= flushAt || batch.isOverdue);
  }

  async function readTogether(batch: Batch): Promise<void> {
    inFlight.push(batch);
    const ids = batch.size;
    const outcome = await reader.read(batch, () => {
      inFlight.splice(inFlight.indexOf(batch), 1);
      flush();
    });
    if (typeof outcome === "string") return;
    if (ids > 1 && mayConcernOneId(outcome.failure, engine)) singleIdReads.start(batch.split());
    else batch.fail(toStatusError(outcome.failure, ids));
  }

  function onFailure(failure: unknown): void {
    options.onFailure?.(failure);
    if (isShardUnavailable(failure, engine)) oneByOneUntil = performance.now() + oneByOneDuration;
  }

  /** One timer enforces every deadline. It runs only while there are calls. */
  function sweep(): void {
    const unanswered = [...inFlight, ...waiting, ...singleIdReads.unanswered()];
    if (unanswered.length === 0) {
      clearInterval(sweeper);
      sweeper = undefined;
      reader.releaseConnections();
      return;
    }
    const now = performance.now();
    breaker.check(now);
    for (const batch of unanswered) batch.expire(now);
    for (const batch of waiting) batch.isOverdue = true;
    flush();
  }

  return { find, findMany, poll: () => Promise.reject(new Error("no poll yet")) };
}
