import { type Call, type HeldOutcome, mustEnd } from "../call.ts";
import { datastoreUnavailable, goingAway, StatusError, slowConsumer } from "../errors.ts";
import { LinkedList } from "../linked-list.ts";
import type { ReqId } from "../req-id.ts";
import type { PollOutcome } from "../status-store.ts";
import { dueAfter, type Poller } from "./poller.ts";
import { isFinal } from "./progress.ts";
import { isUnread, type Reads } from "./reads.ts";
import { type Backlog, Watch, type WatchEvent, type WatchOfId } from "./watch.ts";
import type { WatchedIds } from "./watched-ids.ts";
import type { WatchingMetrics } from "./watching-metrics.ts";

/** What the contract says about the time of watches, in milliseconds. */
export interface WatchTimes {
  /** Without an event, until there is a heartbeat: proxies close what is quiet for a minute. */
  readonly heartbeat: number;
  /** Without an answer of the database. */
  readonly silence: number;
  /** For the client to take an event. */
  readonly stall: number;
  /** How old a watch may become, at random between the two: clients reconnect, to new instances too, and not all at once. */
  readonly age: readonly [least: number, most: number];
}

const contract: WatchTimes = {
  heartbeat: 15_000,
  silence: 30_000,
  stall: 30_000,
  age: [480_000, 600_000],
};

/** How many ids are read again at a time whose errors had no room. */
const idsOfUnread = 8;

/** Calls that watch one status or several. */
export interface Watches extends Disposable {
  /** As `Watching.watch`. */
  watch(reqIds: readonly ReqId[], call: Call): AsyncIterable<WatchEvent>;
  /** As `Watching.drain`. */
  drain(within: number): void;
}

interface WatchesOptions {
  readonly ids: WatchedIds;
  readonly reads: Reads;
  readonly poller: Pick<Poller, "wake">;
  readonly metrics: WatchingMetrics | undefined;
  readonly times: Partial<WatchTimes> | undefined;
}

export function createWatches({ ids, reads, poller, metrics, times }: WatchesOptions): Watches {
  const { heartbeat, silence, stall, age } = { ...contract, ...times };
  const all = new LinkedList<Watch>();
  const backlog: Backlog = { bytes: 0 };
  let isDraining = false;
  let sweeper: NodeJS.Timeout | undefined;

  /** Notes what was read of an id, and has the poller read on what is not final. */
  function settle(ofId: WatchOfId, outcome: PollOutcome, readAt: number): void {
    if (outcome instanceof StatusError && !isUnread(outcome)) {
      ofId.unreadable(outcome);
      return;
    }
    if (!isOver(outcome)) {
      ofId.subscription = ids.watch(ofId.reqId, ofId, dueAfter(outcome, readAt));
      poller.wake();
    }
    if (!(outcome instanceof StatusError)) ofId.read(outcome, readAt);
  }

  /** @throws StatusError when none of the ids could be read; `OVERLOADED`. */
  async function begin(watch: Watch, reqIds: readonly ReqId[]): Promise<void> {
    const { call } = watch;
    ids.requireRoom(reqIds, call);
    const outcomes = await reads.first(reqIds, call);
    const failures = [...outcomes.values()].filter(isUnread);
    const [failure] = failures;
    if (failure !== undefined && failures.length === outcomes.size) {
      // The time of a read passed, and not that of the call: it may be called again, which an EventSource does for this alone.
      const isOfRead = failure.reason === "DEADLINE_EXCEEDED" && performance.now() < call.deadline;
      throw isOfRead ? datastoreUnavailable(failure) : failure;
    }
    ids.requireRoom(
      reqIds.filter((reqId) => !isOver(outcomes.get(reqId))),
      call,
    );
    watch.readAt = performance.now();
    for (const ofId of watch.ids.toArray()) settle(ofId, outcomes.get(ofId.reqId), watch.readAt);
  }

  async function readAgain(watch: Watch): Promise<void> {
    const unread = watch.takeUnread(idsOfUnread);
    const outcomes = await reads.another(
      unread.map(({ reqId }) => reqId),
      watch.call,
    );
    const readAt = performance.now();
    for (const ofId of unread) settle(ofId, outcomes.get(ofId.reqId), readAt);
  }

  /** @returns the next event, if there is one. */
  function take(watch: Watch): WatchEvent | undefined {
    const ofId = watch.take();
    if (ofId === undefined) {
      if (!watch.isHeartbeatDue) return undefined;
      watch.isHeartbeatDue = false;
      const ago = performance.now() - watch.lastReadAt();
      return { kind: "heartbeat", datastoreAnsweredAt: new Date(Date.now() - ago) };
    }
    const { reqId, state, readAt } = ofId;
    if (state === undefined || state === "gone") {
      ofId.leave();
      return { kind: "gone", reqId };
    }
    if (ofId.isKnown) metrics?.written(state.sinceUpdate + performance.now() - readAt);
    ofId.isKnown = true;
    if (isFinal(state)) {
      watch.hasFinal = true;
      ofId.leave();
    }
    return { kind: "status", reqId, status: state };
  }

  async function* watch(given: readonly ReqId[], call: Call): AsyncGenerator<WatchEvent, undefined> {
    const reqIds = [...new Set(given)];
    const longest = age[0] + (age[1] - age[0]) * Math.random();
    const current = new Watch(call, reqIds, backlog, performance.now() + longest);
    const inAll = all.add(current);
    sweeper ??= setInterval(sweep, Math.min(heartbeat, silence, stall, age[0], 4_000) / 8).unref();
    if (isDraining) call.cancel(goingAway);
    try {
      if (!mustEnd(call)) await begin(current, reqIds);
      while (!mustEnd(call)) {
        const event = take(current);
        if (event !== undefined) {
          current.offeredAt = performance.now();
          yield event;
          current.offeredAt = undefined;
          current.takenAt = performance.now();
        } else if (current.hasNews) await readAgain(current);
        else if (current.remaining === 0) return finish(current);
        else if (call.cancelled) return;
        else await current.changed();
      }
      throw call.reason;
    } finally {
      if (call.reason === goingAway) call.heldOutcome ??= "drained";
      inAll.remove();
      current.close();
      if (all.size === 0) {
        clearInterval(sweeper);
        sweeper = undefined;
      }
    }
  }

  /** Every id was reported, or cannot be. @throws StatusError `STATUS_UNREADABLE` */
  function finish({ call, failure, hasFinal }: Watch): undefined {
    if (failure !== undefined) throw failure;
    const outcome: HeldOutcome = hasFinal ? "final" : "gone";
    call.heldOutcome = outcome;
  }

  /** Compares all watches with the clock: cheaper than timers of their own, which each event would set anew. */
  function sweep(): void {
    const now = performance.now();
    for (const current of all.toArray()) {
      const { call } = current;
      const stalledSince = current.stalledSince(now);
      if (now >= current.endsAt) call.cancel(goingAway);
      else if (stalledSince !== undefined) {
        if (now - stalledSince >= stall) call.cancel(slowConsumer);
      } else if (now - current.readAt >= silence && now - current.lastReadAt() >= silence) {
        call.cancel(datastoreUnavailable(new Error(`no status was read for ${silence} ms`)));
      } else if (now - current.takenAt >= heartbeat && !current.isHeartbeatDue) {
        current.isHeartbeatDue = true;
        current.wake();
      }
    }
  }

  return {
    watch,
    drain(within) {
      isDraining = true;
      for (const { call } of all.toArray()) setTimeout(goAway, within * Math.random(), call).unref();
    },
    [Symbol.dispose]() {
      clearInterval(sweeper);
    },
  };
}

function goAway(call: Call): void {
  call.cancel(goingAway);
}

/** Whether an id is not to be read on: its status is final, or there is none. */
function isOver(outcome: PollOutcome): boolean {
  return outcome === undefined || (!(outcome instanceof StatusError) && isFinal(outcome));
}
