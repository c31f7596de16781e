import type { Call, Cancellable } from "../call.ts";
import type { StatusError } from "../errors.ts";
import { type Link, LinkedList } from "../linked-list.ts";
import type { ReqId } from "../req-id.ts";
import type { JobStatus } from "../status.ts";
import type { PolledStatus } from "../status-store.ts";
import { isFinal, isNews } from "./progress.ts";
import type { Subscription, Watcher } from "./watched-ids.ts";

/** One event of a watch. */
export type WatchEvent =
  | { readonly kind: "status"; readonly reqId: ReqId; readonly status: JobStatus }
  | { readonly kind: "gone"; readonly reqId: ReqId }
  /** There was no other event for a while. */
  | { readonly kind: "heartbeat"; readonly datastoreAnsweredAt: Date };

/** Bytes of error texts that wait for slow clients, of one watch and of all. */
const maxBytes = 256 * 2 ** 10;
const maxBytesOfAll = 64 * 2 ** 20;

/** The bytes of error texts that wait for the clients of all watches. */
export interface Backlog {
  bytes: number;
}

/**
 * One watch: the ids that its client does not know to be final, and the news that it has not taken.
 *
 * Of each id it keeps the newest state alone, and of an error for which there is no room its id: it is read again once the
 * client takes it. A client that is slow costs a bounded amount of memory, and holds up no other.
 */
export class Watch implements Cancellable {
  readonly call: Call;
  /** When it is old enough, in milliseconds of `performance.now()`, as all times here. */
  readonly endsAt: number;
  /** How many ids have no final state yet that was taken, or is about to be. */
  remaining: number;
  /** The last time that one of the ids was read, as far as it was asked for: see {@link lastReadAt}. */
  readAt = performance.now();
  /** When the last event was taken. */
  takenAt = this.readAt;
  /** Since when an event waits to be taken that was offered. Undefined: the client waits for one. */
  offeredAt: number | undefined;
  isHeartbeatDue = false;
  /** Why the status of an id cannot be read for good. */
  failure: StatusError | undefined;
  /** Whether an id had a status in the end. */
  hasFinal = false;
  readonly ids = new LinkedList<WatchOfId>();
  readonly #news = new LinkedList<WatchOfId>();
  readonly #unread: WatchOfId[] = [];
  readonly #backlog: Backlog;
  #bytes = 0;
  /** The bytes that the client had not taken when they were looked at last, and since when it has not taken any of them. */
  #unsent = 0;
  #unsentSince: number | undefined;
  #wake: PromiseWithResolvers<void> | undefined;

  constructor(call: Call, reqIds: readonly ReqId[], backlog: Backlog, endsAt: number) {
    this.call = call;
    this.endsAt = endsAt;
    this.remaining = reqIds.length;
    this.#backlog = backlog;
    for (const reqId of reqIds) {
      const ofId = new WatchOfId(this, reqId);
      ofId.inIds = this.ids.add(ofId);
    }
    if (!call.cancelled) call.attach(this);
  }

  /**
   * Since when the client has taken nothing of what waits for it: an event, or the rest of one that was written. Undefined:
   * nothing does.
   */
  stalledSince(now: number): number | undefined {
    const unsent = this.call.carrier?.writableLength ?? 0;
    if (unsent === 0) this.#unsentSince = undefined;
    else if (unsent < this.#unsent) this.#unsentSince = now;
    else this.#unsentSince ??= now;
    this.#unsent = unsent;
    return this.#unsentSince ?? this.offeredAt;
  }

  get hasNews(): boolean {
    return this.#news.size > 0 || this.#unread.length > 0;
  }

  /** @returns when one of the ids was read last, in milliseconds of `performance.now()`. */
  lastReadAt(): number {
    for (const { subscription } of this.ids.toArray()) {
      this.readAt = Math.max(this.readAt, subscription?.id.readAt ?? 0);
    }
    return this.readAt;
  }

  /** @returns the oldest news. Undefined: there is none. */
  take(): WatchOfId | undefined {
    const ofId = this.#news.oldest?.value;
    if (ofId === undefined) return undefined;
    ofId.inNews?.remove();
    ofId.inNews = undefined;
    this.#hold(ofId, 0);
    return ofId;
  }

  /** @returns ids whose states had no room when they were read. */
  takeUnread(count: number): WatchOfId[] {
    return this.#unread.splice(0, count);
  }

  /** Notes news of an id, in place of older news of it. @returns whether there is room for it. */
  add(ofId: WatchOfId, error: string | undefined): boolean {
    // As JavaScript keeps a text that is no Latin-1.
    const bytes = error === undefined ? 0 : 2 * error.length;
    const more = bytes - ofId.bytes;
    const isRoom =
      more <= 0 || (this.#bytes + more <= maxBytes && this.#backlog.bytes + more <= maxBytesOfAll);
    // One is always taken: otherwise, nothing would be while the others fill all the room.
    if (!isRoom && this.hasNews) {
      this.#unread.push(ofId);
      this.wake();
      return false;
    }
    this.#hold(ofId, bytes);
    ofId.inNews ??= this.#news.add(ofId);
    this.wake();
    return true;
  }

  /** Resolves when there may be news, or the call was cancelled. */
  changed(): Promise<void> {
    this.#wake ??= Promise.withResolvers();
    return this.#wake.promise;
  }

  wake(): void {
    this.#wake?.resolve();
    this.#wake = undefined;
  }

  cancel(): void {
    this.wake();
  }

  close(): void {
    this.call.detach(this);
    for (const ofId of this.ids.toArray()) {
      ofId.subscription?.cancel();
      this.#hold(ofId, 0);
    }
  }

  #hold(ofId: WatchOfId, bytes: number): void {
    this.#bytes += bytes - ofId.bytes;
    this.#backlog.bytes += bytes - ofId.bytes;
    ofId.bytes = bytes;
  }
}

/** One id of one watch. */
export class WatchOfId implements Watcher {
  readonly reqId: ReqId;
  readonly watch: Watch;
  subscription: Subscription | undefined;
  /** The newest state that was noted. `gone`: there is none. Undefined: none was. */
  state: PolledStatus | "gone" | undefined;
  readAt = 0;
  /** Its places in the lists of the watch: of its ids, and of those with news. */
  inIds: Link<WatchOfId> | undefined;
  inNews: Link<WatchOfId> | undefined;
  /** Of the error text that waits to be taken. */
  bytes = 0;
  /** Whether its first state was taken: what follows is a change. */
  isKnown = false;

  constructor(watch: Watch, reqId: ReqId) {
    this.watch = watch;
    this.reqId = reqId;
  }

  get caller(): string | undefined {
    return this.watch.call.caller;
  }

  read(status: PolledStatus | undefined, readAt: number): void {
    const known = this.state === "gone" ? undefined : this.state;
    if (status !== undefined && !isNews(status, known)) return;
    // What is final, or gone, is not read again.
    if (status === undefined || isFinal(status)) this.subscription?.cancel();
    if (!this.watch.add(this, status?.error)) return;
    this.state = status ?? "gone";
    this.readAt = readAt;
  }

  unreadable(error: StatusError): void {
    this.watch.failure = error;
    this.leave();
    this.watch.wake();
  }

  /** There will be no more news of it. */
  leave(): void {
    this.subscription?.cancel();
    this.inIds?.remove();
    this.inIds = undefined;
    this.watch.remaining--;
  }
}
