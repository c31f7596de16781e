import type { Call } from "../call.ts";
import { type HoldLimit, overloaded, StatusError } from "../errors.ts";
import { shareOfToken } from "../holds.ts";
import { type Link, LinkedList } from "../linked-list.ts";
import type { ReqId } from "../req-id.ts";
import type { JobState } from "../status.ts";
import type { PolledStatus, PollOutcome } from "../status-store.ts";
import { isUnread } from "./reads.ts";

/** What one call waits for of one id. */
export interface Watcher {
  /** The name of the caller's token. */
  readonly caller: string | undefined;
  /**
   * Its id was read, and its status may be another than before.
   *
   * @param status undefined: there is no live status any more.
   * @param readAt in milliseconds of `performance.now()`.
   */
  read(status: PolledStatus | undefined, readAt: number): void;
  /** The row of its id cannot be decoded. */
  unreadable(error: StatusError): void;
}

/** One id that calls wait for, with all that wait for it. */
export class WatchedId {
  readonly reqId: ReqId;
  readonly watchers = new LinkedList<Watcher>();
  /** When it is to be read next, in milliseconds of `performance.now()`. */
  dueAt: number;
  /** When it was read last. Undefined: it has not been read since it is watched. */
  readAt: number | undefined;
  /** Its place among all that are watched. */
  index = 0;
  /** The next one of the same bucket. */
  next: WatchedId | undefined;
  #status: JobState | "gone" | undefined;
  #createdAt = 0;

  constructor(reqId: ReqId, dueAt: number) {
    this.reqId = reqId;
    this.dueAt = dueAt;
  }

  /** Tells the watchers what was read, unless it is what they know. That the database could not be asked tells nothing. */
  settle(outcome: PollOutcome, readAt: number): void {
    if (outcome instanceof StatusError) {
      if (isUnread(outcome)) return;
      for (const watcher of this.watchers.toArray()) watcher.unreadable(outcome);
      return;
    }
    this.readAt = readAt;
    const status = outcome?.status ?? "gone";
    const createdAt = outcome?.createdAt.getTime() ?? 0;
    if (status === this.#status && createdAt === this.#createdAt) return;
    this.#status = status;
    this.#createdAt = createdAt;
    for (const watcher of this.watchers.toArray()) watcher.read(outcome, readAt);
  }

  /** The next read is told to all watchers, whatever it is: one of them knows another status. */
  forget(): void {
    this.#status = undefined;
  }
}

export interface WatchedIdsOptions {
  readonly maxWatched: number;
  readonly maxWatchedPairs: number;
}

/**
 * All ids that calls wait for, and their limits.
 *
 * A hash table with chains, for ids that are added and removed without end: a Map would keep those that were removed alive
 * until the next full collection (`npm run bench:table-chain`). Ids get here after they were read, so that no caller can make up
 * ids that share a chain.
 */
export class WatchedIds {
  readonly all: WatchedId[] = [];
  readonly #maxWatched: number;
  readonly #maxPairs: number;
  #buckets: (WatchedId | undefined)[] = new Array(64).fill(undefined);
  #pairs = 0;
  /** An id counts for the token of the call that has waited for it longest. */
  readonly #idsOfTokens = new Map<string, number>();
  readonly #pairsOfTokens = new Map<string, number>();

  constructor({ maxWatched, maxWatchedPairs }: WatchedIdsOptions) {
    this.#maxWatched = maxWatched;
    this.#maxPairs = maxWatchedPairs;
  }

  /** @returns the limit that keeps a caller from watching these ids as well. */
  limitOf(reqIds: readonly ReqId[], caller: string | undefined): HoldLimit | undefined {
    let added = 0;
    for (const reqId of reqIds) if (this.#find(reqId) === undefined) added++;
    const isExceeded = (count: number, max: number, ofToken: ReadonlyMap<string, number>, more: number) => {
      if (more === 0) return false;
      if (count + more > max) return true;
      return caller !== undefined && (ofToken.get(caller) ?? 0) + more > Math.max(1, max * shareOfToken);
    };
    if (isExceeded(this.all.length, this.#maxWatched, this.#idsOfTokens, added)) return "MAX_WATCHED";
    if (isExceeded(this.#pairs, this.#maxPairs, this.#pairsOfTokens, reqIds.length))
      return "MAX_WATCHED_PAIRS";
    return undefined;
  }

  /** @throws StatusError `OVERLOADED` when a limit keeps the call from watching these ids. */
  requireRoom(reqIds: readonly ReqId[], call: Call): void {
    const limit = this.limitOf(reqIds, call.caller);
    if (limit === undefined) return;
    call.heldOutcome = limit;
    throw overloaded(limit);
  }

  /** @param dueAt when the id is to be read, unless it is watched already. */
  watch(reqId: ReqId, watcher: Watcher, dueAt: number): Subscription {
    let id = this.#find(reqId);
    if (id === undefined) {
      id = new WatchedId(reqId, dueAt);
      this.#add(id);
      add(this.#idsOfTokens, watcher.caller, 1);
    } else id.forget();
    this.#pairs++;
    add(this.#pairsOfTokens, watcher.caller, 1);
    return new Subscription(this, id, id.watchers.add(watcher));
  }

  /** To be called once. */
  unwatch(id: WatchedId, link: Link<Watcher>): void {
    const { caller } = link.value;
    const before = id.watchers.oldest?.value;
    link.remove();
    const oldest = id.watchers.oldest?.value;
    this.#pairs--;
    add(this.#pairsOfTokens, caller, -1);
    if (oldest !== before) {
      add(this.#idsOfTokens, before?.caller, -1);
      add(this.#idsOfTokens, oldest?.caller, 1);
    }
    if (oldest === undefined) this.#remove(id);
  }

  #find(reqId: ReqId): WatchedId | undefined {
    let id = this.#buckets[this.#bucketOf(reqId)];
    while (id !== undefined && id.reqId !== reqId) id = id.next;
    return id;
  }

  #add(id: WatchedId): void {
    id.index = this.all.length;
    this.all.push(id);
    if (this.all.length > this.#buckets.length) {
      this.#buckets = new Array(2 * this.#buckets.length).fill(undefined);
      for (const each of this.all) this.#chain(each);
    } else this.#chain(id);
  }

  #chain(id: WatchedId): void {
    const bucket = this.#bucketOf(id.reqId);
    id.next = this.#buckets[bucket];
    this.#buckets[bucket] = id;
  }

  #remove(id: WatchedId): void {
    const last = this.all.pop() as WatchedId;
    if (last !== id) {
      this.all[id.index] = last;
      last.index = id.index;
    }
    const bucket = this.#bucketOf(id.reqId);
    let previous = this.#buckets[bucket];
    if (previous === id) this.#buckets[bucket] = id.next;
    else {
      while (previous !== undefined && previous.next !== id) previous = previous.next;
      if (previous !== undefined) previous.next = id.next;
    }
    id.next = undefined;
  }

  /** Ids of some versions differ at their beginning alone, those of others at their end (RFC 9562). */
  #bucketOf(reqId: ReqId): number {
    const hash = Number.parseInt(reqId.slice(0, 7), 16) ^ Number.parseInt(reqId.slice(-7), 16);
    return hash & (this.#buckets.length - 1);
  }
}

/** One id of one call, until it is cancelled. */
export class Subscription {
  readonly id: WatchedId;
  #ids: WatchedIds | undefined;
  readonly #link: Link<Watcher>;

  constructor(ids: WatchedIds, id: WatchedId, link: Link<Watcher>) {
    this.id = id;
    this.#ids = ids;
    this.#link = link;
  }

  cancel(): void {
    this.#ids?.unwatch(this.id, this.#link);
    this.#ids = undefined;
  }
}

/** The keys are few: the names of tokens. */
function add(counts: Map<string, number>, caller: string | undefined, by: number): void {
  if (caller !== undefined) counts.set(caller, (counts.get(caller) ?? 0) + by);
}
