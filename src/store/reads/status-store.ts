import type { Call } from "../../status/call.ts";
import { overloaded } from "../../status/errors.ts";
import type { ReqId } from "../../status/req-id.ts";
import type { JobStatus } from "../../status/status.ts";
import type { PollOutcome, StatusOutcome, StatusStore } from "../../status/status-store.ts";
import type { Breaker } from "../connections/breaker.ts";
import type { Connections } from "../connections/connections.ts";
import type { Batch, BatchKind } from "./batch.ts";
import { type BatchReaderOptions, createBatchReader } from "./batch-reader.ts";
import { FindMany } from "./find-many.ts";
import { createReadQueue, type ReadQueue } from "./read-queue.ts";
import { isShardUnavailable } from "./statement-errors.ts";

export interface StatusStoreOptions extends BatchReaderOptions {
  /** From how many waiting ids on a statement is sent at once, and not at the end of the event loop's turn. */
  readonly flushAt?: number;
  /** How many statements run at the same time. Ids that come meanwhile share the next one. */
  readonly maxInFlight?: number;
  /** How many ids one statement asks for at most. */
  readonly maxBatch?: number;
  /** How many ids wait for a statement at most; of calls with several, half of it. What comes beyond fails with `OVERLOADED`. */
  readonly maxQueued?: number;
}

/** For a store that sends its statements whatever became of those before. */
const neverOpen: Breaker = { refusal: undefined, sent() {}, answered() {}, failed() {}, check() {} };

/** How often, in milliseconds, the deadlines of waiting calls are compared with the clock. */
const sweepInterval = 10;

/** How long, in milliseconds, each id is read by itself after a server behind the engine was found to be unavailable. */
const oneByOneDuration = 1_000;

/** Statements for lookups at the same time, where ids are read one by one. */
const maxSingleLookups = 8;

const bulkFlushAt = 500;
/** Statements for bulk reads at the same time. At least one connection is left to lookups, where there are two. */
const maxBulkInFlight = 2;
/** The calls that ask for several ids: each has one statement. */
const many: BatchKind = { isPolled: false, maxIds: 1_000 };
/** The calls that wait. */
const polls: BatchKind = { isPolled: true, maxIds: 500 };

/**
 * Reads statuses from PostgreSQL: many calls, one statement.
 *
 * Ids that wait at the same moment share a statement. Nothing is remembered between statements, so a status is always read
 * after the call that asks for it came in. A statement that fails for one id fails no other: its ids are read one by one.
 *
 * Calls for one id (lookups) have statements of their own, and go first. Those that ask for several, or wait (bulk reads), take
 * none of the statements that lookups may have in flight, and hold none of them back.
 */
export function createStatusStore(
  connections: Connections,
  options: StatusStoreOptions = {},
  breaker: Breaker = neverOpen,
): StatusStore {
  const { flushAt = 32, maxInFlight = 2, maxBatch = 256, maxQueued = 512 } = options;
  const { engine = { isDistributed: false } } = options;
  const reader = createBatchReader(connections, { ...options, onFailure }, breaker);
  const common = { engine, breaker, isOneByOne, onRoom: flush };
  const lookup: BatchKind = { isPolled: false, maxIds: maxBatch };
  const lookups = createReadQueue(reader, {
    ...common,
    flushAt,
    maxInFlight,
    maxSingleIdsInFlight: maxSingleLookups,
    mustYield: () => false,
  });
  const bulkInFlight = Math.max(1, Math.min(maxBulkInFlight, connections.state().max - 1));
  const bulk = createReadQueue(reader, {
    ...common,
    flushAt: bulkFlushAt,
    maxInFlight: bulkInFlight,
    maxSingleIdsInFlight: bulkInFlight,
    mustYield: () => lookups.isWaiting,
  });
  let oneByOneUntil = 0;
  let scheduled = false;
  let sweeper: NodeJS.Timeout | undefined;

  function find(reqId: ReqId, call: Call): Promise<JobStatus | undefined> {
    if (call.cancelled) return Promise.reject(call.reason);
    if (breaker.refusal !== undefined) return Promise.reject(breaker.refusal);
    if (lookups.waiting(lookup) >= maxQueued) return Promise.reject(overloaded("MAX_QUEUED"));
    const batch = lookups.batchFor(1, lookup);
    const answer = batch.add(reqId, call);
    if (batch.size >= flushAt) flushNow(lookups);
    else flushSoon();
    return answer;
  }

  function findMany(reqIds: readonly ReqId[], call: Call): Promise<ReadonlyMap<ReqId, StatusOutcome>> {
    if (call.cancelled) return Promise.reject(call.reason);
    const read = new FindMany(reqIds, call);
    readInBulk(read, many, roomFor(read.size));
    return read.answer;
  }

  function poll(reqIds: readonly ReqId[], call: Call): Promise<ReadonlyMap<ReqId, PollOutcome>> {
    if (call.cancelled) return Promise.reject(call.reason);
    const read = new FindMany(reqIds, call);
    readInBulk(read, polls, read.size);
    // What a batch of this kind reads is a PolledStatus.
    return read.answer as Promise<ReadonlyMap<ReqId, PollOutcome>>;
  }

  /** @returns how many ids of a call may wait for a statement: all of them when there is no other such call. */
  function roomFor(ids: number): number {
    const limit = maxQueued / 2;
    // What can be sent does not count as queued.
    if (bulk.waiting(many) + ids > limit) bulk.flush();
    const queued = bulk.waiting(many);
    return queued === 0 ? ids : limit - queued;
  }

  /** @param room for how many of the ids. The rest is shed. */
  function readInBulk(read: FindMany, kind: BatchKind, room: number): void {
    let batch: Batch | undefined;
    let left = Math.min(read.size, room);
    for (const reqId of read.reqIds) {
      if (breaker.refusal !== undefined) read.settle(reqId, breaker.refusal);
      else if (left-- < 1) read.settle(reqId, overloaded("MAX_QUEUED"));
      else {
        if (batch === undefined || batch.size >= kind.maxIds) {
          batch = bulk.batchFor(Math.min(left + 1, kind.maxIds), kind);
        }
        batch.addOneOf(read, reqId);
      }
    }
    if (batch === undefined) return;
    if (batch.size >= bulkFlushAt) flushNow(bulk);
    else flushSoon();
  }

  function startSweeping(): void {
    sweeper ??= setInterval(sweep, sweepInterval).unref();
  }

  /** For a batch that is full. */
  function flushNow(queue: ReadQueue): void {
    startSweeping();
    queue.flush();
  }

  /** Sends what waits at the end of the event loop's turn. */
  function flushSoon(): void {
    startSweeping();
    if (scheduled) return;
    scheduled = true;
    setImmediate(flushScheduled);
  }

  function flushScheduled(): void {
    scheduled = false;
    flush();
  }

  function flush(): void {
    lookups.flush();
    bulk.flush();
  }

  function isOneByOne(): boolean {
    return oneByOneUntil > 0 && performance.now() < oneByOneUntil;
  }

  function onFailure(failure: unknown): void {
    options.onFailure?.(failure);
    if (isShardUnavailable(failure, engine)) oneByOneUntil = performance.now() + oneByOneDuration;
  }

  /** One timer enforces every deadline. It runs only while there are calls. */
  function sweep(): void {
    const unanswered = [...lookups.unanswered(), ...bulk.unanswered()];
    if (unanswered.length === 0) {
      clearInterval(sweeper);
      sweeper = undefined;
      reader.releaseConnections();
      return;
    }
    const now = performance.now();
    breaker.check(now);
    for (const batch of unanswered) batch.expire(now);
    lookups.markOverdue();
    bulk.markOverdue();
    flush();
  }

  return { find, findMany, poll };
}
