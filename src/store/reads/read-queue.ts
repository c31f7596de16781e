import type { Breaker } from "../connections/breaker.ts";
import type { Engine } from "../schema/engine.ts";
import { Batch, type BatchKind } from "./batch.ts";
import type { BatchReader } from "./batch-reader.ts";
import { createSingleIdReads } from "./single-id-reads.ts";
import { mayConcernOneId, toStatusError } from "./statement-errors.ts";

/** Batches that wait for a statement, and those whose statement is in flight. */
export interface ReadQueue {
  /** Whether a batch waits to be sent. */
  readonly isWaiting: boolean;
  /** How many ids of a kind wait for a statement. */
  waiting(kind: BatchKind): number;
  /** @returns the batch that this number of ids join. */
  batchFor(ids: number, kind: BatchKind): Batch;
  /** Sends what may be sent. */
  flush(): void;
  /** The batches that are not answered yet. */
  unanswered(): Batch[];
  /** From now on, what waits is sent as soon as the limit of statements allows. */
  markOverdue(): void;
}

interface ReadQueueOptions {
  /** While a statement is in flight, from how many waiting ids on another one is sent. */
  readonly flushAt: number;
  /** How many statements run at the same time; and how many where ids are read one by one. */
  readonly maxInFlight: number;
  readonly maxSingleIdsInFlight: number;
  readonly engine: Engine;
  readonly breaker: Breaker;
  /** Whether each id is read by itself. */
  readonly isOneByOne: () => boolean;
  /** Whether what is not overdue has to wait. */
  readonly mustYield: () => boolean;
  /** Called when a statement has ended. */
  readonly onRoom: () => void;
}

/**
 * When the first ids of a statement that failed, this number of them, all fail alike, too, the rest fail without being read.
 * Where the table is on three servers and one is unavailable, four ids taken at random are all on that one once in 81 times,
 * twelve once in 500,000.
 */
const maxAlikeFailures = 4;
const maxAlikeFailuresDistributed = 12;

export function createReadQueue(reader: BatchReader, options: ReadQueueOptions): ReadQueue {
  const { flushAt, maxInFlight, engine, breaker, isOneByOne, mustYield, onRoom } = options;
  const singleIdReads = createSingleIdReads(reader, {
    maxInFlight: options.maxSingleIdsInFlight,
    maxAlikeFailures: () => (engine.isDistributed ? maxAlikeFailuresDistributed : maxAlikeFailures),
    onRoom,
  });
  const inFlight: Batch[] = [];
  /** In the order in which they are sent. */
  const waiting: Batch[] = [];

  function lastOf(kind: BatchKind): Batch | undefined {
    // For lookups, the last one: a function for each of them would cost more than this loop.
    for (let at = waiting.length - 1; at >= 0; at--) if (waiting[at]?.kind === kind) return waiting[at];
    return undefined;
  }

  /** Polls go behind other calls, but for those that have waited for long. */
  function enqueue(batch: Batch): void {
    const before = batch.kind.isPolled
      ? -1
      : waiting.findIndex(({ kind, isOverdue }) => kind.isPolled && !isOverdue);
    if (before === -1) waiting.push(batch);
    else waiting.splice(before, 0, batch);
  }

  function flush(): void {
    for (let batch = waiting[0]; batch !== undefined && maySend(batch); batch = waiting[0]) {
      waiting.shift();
      if (breaker.refusal !== undefined) {
        batch.fail(breaker.refusal);
        continue;
      }
      batch.expire(performance.now());
      if (batch.size === 0) continue;
      if (isOneByOne()) singleIdReads.start(batch.split());
      else void readTogether(batch);
    }
  }

  /**
   * While a statement runs, another one is sent when it is full: an id that comes alone is joined by others until the first
   * is answered. What has waited for longer than that usually takes is sent by the sweep.
   */
  function maySend(batch: Batch): boolean {
    if (!batch.isOverdue && mustYield()) return false;
    if (isOneByOne()) return singleIdReads.haveRoom;
    if (inFlight.length === 0) return true;
    return inFlight.length < maxInFlight && (batch.size >= flushAt || batch.isOverdue);
  }

  async function readTogether(batch: Batch): Promise<void> {
    inFlight.push(batch);
    const ids = batch.size;
    const outcome = await reader.read(batch, () => {
      inFlight.splice(inFlight.indexOf(batch), 1);
      onRoom();
    });
    if (typeof outcome === "string") return;
    if (ids > 1 && mayConcernOneId(outcome.failure, engine)) singleIdReads.start(batch.split());
    else batch.fail(toStatusError(outcome.failure, ids));
  }

  return {
    get isWaiting() {
      return waiting.length > 0;
    },
    waiting(kind) {
      let ids = singleIdReads.waiting(kind);
      for (const batch of waiting) if (batch.kind === kind) ids += batch.size;
      return ids;
    },
    batchFor(ids, kind) {
      const last = lastOf(kind);
      if (last !== undefined && last.size + ids <= kind.maxIds) return last;
      const batch = new Batch(kind);
      enqueue(batch);
      return batch;
    },
    flush,
    unanswered: () => [...inFlight, ...waiting, ...singleIdReads.unanswered()],
    markOverdue() {
      for (const batch of waiting) batch.isOverdue = true;
    },
  };
}
