import { Call } from "../call.ts";
import { StatusError } from "../errors.ts";
import type { PollOutcome, StatusStore } from "../status-store.ts";
import type { WatchedId, WatchedIds } from "./watched-ids.ts";
import type { WatchingMetrics } from "./watching-metrics.ts";

/** How often, in milliseconds, an id is read, by the age of its request in milliseconds: young jobs end soon, and old ones late. */
const tiers = [
  { maxAge: 60_000, interval: 250 },
  { maxAge: 600_000, interval: 1_000 },
] as const;
const interval = tiers[0].interval;
const longestInterval = 2_000;

/** When an id could not be read, in milliseconds. */
const failedInterval = 1_000;

/** Give or take: many instances should not ask in step. */
const jitter = 0.1;

/** Ids of one read. More would hold up the event loop, which has other callers to answer, and the reads of others. */
const idsOfRead = 500;

/**
 * @param readAt in milliseconds of `performance.now()`.
 * @returns when an id is to be read again. One that every tick reads is due at once; any other may be read half a tick too
 *   soon rather than a whole one too late.
 */
export function dueAfter(outcome: PollOutcome, readAt: number): number {
  if (outcome === undefined) return readAt;
  const pause = outcome instanceof StatusError ? failedInterval : intervalOf(outcome.age);
  return pause === interval ? readAt : readAt + pause - interval / 2;
}

function intervalOf(age: number): number {
  return tiers.find(({ maxAge }) => age < maxAge)?.interval ?? longestInterval;
}

/** Reads the ids that are watched, again and again, while there are any. */
export interface Poller extends Disposable {
  /** To be called when an id was added. */
  wake(): void;
}

interface PollerOptions {
  readonly ids: WatchedIds;
  readonly metrics: WatchingMetrics | undefined;
  /** The longest that one read may take, in milliseconds. */
  readonly requestTimeout: number;
}

/**
 * There is one tick at a time, and it begins no sooner than twice what the last one took after that began: a database that is
 * slow is asked less. What commits while a tick runs is seen by the next.
 */
export function createPoller(store: Pick<StatusStore, "poll">, options: PollerOptions): Poller {
  const { ids, metrics, requestTimeout } = options;
  let timer: NodeJS.Timeout | undefined;
  let isTicking = false;
  let isDisposed = false;

  function schedule(delay: number): void {
    timer = setTimeout(tick, delay).unref();
  }

  function tickSoon(): void {
    if (timer === undefined && !isTicking && !isDisposed) schedule(jittered());
  }

  async function tick(): Promise<void> {
    timer = undefined;
    isTicking = true;
    const startedAt = performance.now();
    const due = ids.all.filter(({ dueAt }) => dueAt <= startedAt);
    let rows = 0;
    for (let start = 0; start < due.length && !isDisposed; start += idsOfRead) {
      rows += await read(due.slice(start, start + idsOfRead));
    }
    isTicking = false;
    if (isDisposed) return;
    const duration = performance.now() - startedAt;
    const planned = jittered();
    if (due.length > 0) {
      const statements = Math.ceil(due.length / idsOfRead);
      metrics?.tick({ ids: due.length, rows, statements, isOverrun: duration > planned });
    }
    if (ids.all.length > 0) schedule(Math.max(planned, 2 * duration) - duration);
  }

  /** @returns how many of them have a status. */
  async function read(due: readonly WatchedId[]): Promise<number> {
    const call = new Call(performance.now() + requestTimeout);
    // What a poll throws is the reason of a cancelled call, which this one never is.
    const outcomes = await store.poll(
      due.map(({ reqId }) => reqId),
      call,
    );
    const readAt = performance.now();
    let rows = 0;
    for (const id of due) {
      const outcome = outcomes.get(id.reqId);
      id.dueAt = dueAfter(outcome, readAt);
      if (outcome !== undefined && !(outcome instanceof StatusError)) rows++;
      id.settle(outcome, readAt);
    }
    return rows;
  }

  return {
    wake: tickSoon,
    [Symbol.dispose]() {
      isDisposed = true;
      clearTimeout(timer);
    },
  };
}

function jittered(): number {
  return interval * (1 - jitter + 2 * jitter * Math.random());
}
