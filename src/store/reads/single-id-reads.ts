import { shuffled } from "../shuffled.ts";
import type { Batch, BatchKind } from "./batch.ts";
import type { BatchReader } from "./batch-reader.ts";
import { sqlStateOf, toStatusError } from "./statement-errors.ts";

/** Reads ids one by one, each with a statement of its own. */
export interface SingleIdReads {
  /** Whether another statement could be sent at once. */
  readonly haveRoom: boolean;
  /** How many ids of a kind wait until they are read. */
  waiting(kind: BatchKind): number;
  /** @param batches of one id each, from one statement, or in place of one. They are read in a random order. */
  start(batches: Batch[]): void;
  /** The batches that are not answered yet. */
  unanswered(): Batch[];
}

/** Statements at the same time for the ids of one group. A database in trouble is not asked for more. */
const maxInFlightOfGroup = 4;

/** The ids of one statement. */
interface Group {
  readonly kind: BatchKind;
  waiting: Batch[];
  readonly inFlight: Batch[];
  /** How many were sent. */
  sent: number;
  /** The SQLSTATEs of those that failed, as long as they are all the same and none was answered. */
  alikeFailures: string[] | undefined;
}

interface SingleIdReadsOptions {
  /** Statements at the same time, over all groups. */
  readonly maxInFlight: number;
  /** When the first ids of a group, this number of them, all fail alike, the rest fail without being read. */
  readonly maxAlikeFailures: () => number;
  /** Called when a statement has ended. */
  readonly onRoom: () => void;
}

export function createSingleIdReads(
  reader: BatchReader,
  { maxInFlight, maxAlikeFailures, onRoom }: SingleIdReadsOptions,
): SingleIdReads {
  let groups: Group[] = [];
  let inFlight = 0;

  function sendNext(): void {
    for (const group of groups) {
      while (inFlight < maxInFlight && group.inFlight.length < maxInFlightOfGroup) {
        if (group.alikeFailures !== undefined && group.sent >= maxAlikeFailures()) break;
        const batch = group.waiting.shift();
        if (batch === undefined) break;
        // Calls may have been cancelled since.
        if (batch.size > 0) void read(batch, group);
      }
    }
    groups = groups.filter((group) => group.waiting.length + group.inFlight.length > 0);
  }

  async function read(batch: Batch, group: Group): Promise<void> {
    inFlight++;
    group.sent++;
    group.inFlight.push(batch);
    const outcome = await reader.read(batch, () => {
      inFlight--;
      group.inFlight.splice(group.inFlight.indexOf(batch), 1);
      sendNext();
      onRoom();
    });
    if (outcome === "answered") group.alikeFailures = undefined;
    else if (outcome === "abandoned") group.sent--;
    else failed(outcome.failure, batch, group);
    sendNext();
  }

  function failed(failure: unknown, batch: Batch, group: Group): void {
    const error = toStatusError(failure, 1);
    batch.fail(error);
    const sqlState = sqlStateOf(failure);
    if (group.alikeFailures?.some((other) => other !== sqlState)) group.alikeFailures = undefined;
    group.alikeFailures?.push(sqlState);
    if (group.alikeFailures === undefined || group.alikeFailures.length < maxAlikeFailures()) return;
    for (const unread of group.waiting) unread.fail(error);
    group.waiting = [];
  }

  return {
    get haveRoom() {
      return inFlight < maxInFlight;
    },
    waiting(kind) {
      let ids = 0;
      for (const group of groups) if (group.kind === kind) ids += group.waiting.length;
      return ids;
    },
    start(batches) {
      const [first] = batches;
      if (first === undefined) return;
      // Neighbours may be on the same server, and the first that are read have to stand for all.
      groups.push({
        kind: first.kind,
        waiting: shuffled(batches),
        inFlight: [],
        sent: 0,
        alikeFailures: [],
      });
      sendNext();
    },
    unanswered: () => groups.flatMap((group) => [...group.inFlight, ...group.waiting]),
  };
}
