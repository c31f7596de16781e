import { EventEmitter, once } from "node:events";
import { abortable } from "./abort.ts";

/** `degraded`: the primary does not answer, and a replica does that is within its bound. */
export type DatastoreState = "ready" | "degraded";

/** Whether this instance should get calls. It should when it is ready, and when it is degraded. */
export interface Readiness extends Disposable {
  /**
   * How the datastore is, unless {@link drain} was called. Asks at most once an interval, however often it is called; in
   * between, and while an attempt runs, all callers share one answer. Never rejects.
   */
  state(): Promise<DatastoreState | "not ready">;
  /** Whether this instance should get calls: {@link state} has more. */
  ready(): Promise<boolean>;
  /**
   * Whether this instance should get calls, now and at each change; a watcher that is slow to take one gets the latest. Ends
   * when the signal fires, and after drain. The datastore is asked once an interval only while there are watchers.
   */
  watch(signal: AbortSignal): AsyncIterable<boolean>;
  /** Resolves once {@link drain} was called, or when the signal fires. Asks nothing of the datastore. */
  drained(signal: AbortSignal): Promise<void>;
  /** From now on, and for good: not ready. Waiters and watchers learn of it at once. Disposing does the same. */
  drain(): void;
}

interface ReadinessOptions {
  /** Shortest time between two attempts, in milliseconds. Default 1000. */
  readonly interval?: number;
  /** How long the datastore may take to answer, in milliseconds. Default 1000. */
  readonly timeout?: number;
  /** Whether `degraded`, once found, still holds: a replica's bound may end between two attempts. Asks nothing. */
  readonly isStillDegraded?: () => boolean;
  /** Called with the first finding and with each change; the cause is what the probe rejected with, if it did. */
  readonly onChange?: (state: DatastoreState | "not ready", cause?: unknown) => void;
}

/**
 * @param probe asks the datastore. To reject, or to take longer than the timeout, means not ready. Its signal
 *   fires when the answer is of no use any more.
 */
export function createReadiness(
  probe: (signal: AbortSignal) => Promise<DatastoreState>,
  options: ReadinessOptions = {},
): Readiness {
  const { interval = 1000, timeout = 1000, isStillDegraded = () => true, onChange } = options;
  const changes = new EventEmitter().setMaxListeners(0);
  let state: DatastoreState | "not ready" | undefined;
  let draining = false;
  let answer: Promise<DatastoreState | "not ready"> = Promise.resolve("not ready");
  let attempt: AbortController | undefined;
  let attemptedAt = Number.NEGATIVE_INFINITY;
  let watchers = 0;
  let timer: NodeJS.Timeout | undefined;

  function settle(next: DatastoreState | "not ready", cause?: unknown): void {
    if (next === state) return;
    state = next;
    onChange?.(next, cause);
    changes.emit("change");
  }

  async function ask(): Promise<DatastoreState | "not ready"> {
    const current = new AbortController();
    attempt = current;
    attemptedAt = performance.now();
    const late = () => current.abort(new Error(`the datastore did not answer within ${timeout} ms`));
    const deadline = setTimeout(late, timeout).unref();
    let found: DatastoreState | "not ready" = "not ready";
    let cause: unknown;
    try {
      found = await abortable(probe(current.signal), current.signal);
    } catch (error) {
      cause = error;
    }
    clearTimeout(deadline);
    attempt = undefined;
    settle(draining ? "not ready" : found, cause);
    return draining ? "not ready" : found;
  }

  function ready(): Promise<boolean> {
    return current().then(isReady);
  }

  function current(): Promise<DatastoreState | "not ready"> {
    const due = performance.now() - attemptedAt >= interval;
    if (attempt !== undefined || draining) return answer;
    if (due) answer = ask();
    else if (state === "degraded" && !isStillDegraded()) {
      answer = Promise.resolve("not ready");
      settle("not ready", new Error("the replica is not within its bound any more"));
    }
    return answer;
  }

  async function poll(): Promise<void> {
    await current();
    if (watchers === 0 || draining) return;
    // Another caller may have asked since the timer was set, or the last watcher may have been replaced meanwhile: the next
    // turn counts from the last attempt, and there is one timer.
    clearTimeout(timer);
    timer = setTimeout(poll, Math.max(1, attemptedAt + interval - performance.now())).unref();
  }

  async function change(signal: AbortSignal): Promise<void> {
    // Rejects only when the signal fires, which the callers check themselves.
    await once(changes, "change", { signal }).catch(() => undefined);
  }

  function drain(): void {
    if (draining) return;
    draining = true;
    answer = Promise.resolve("not ready");
    clearTimeout(timer);
    attempt?.abort(new Error("the server is draining"));
    settle("not ready");
    // Watchers that already knew "not ready" wait for the end.
    changes.emit("change");
  }

  return {
    state: current,
    ready,
    async *watch(signal) {
      watchers += 1;
      if (watchers === 1) void poll();
      try {
        await current();
        let last: boolean | undefined;
        while (!signal.aborted) {
          if (state !== undefined && isReady(state) !== last) {
            last = isReady(state);
            yield last;
          } else if (draining) {
            return;
          } else {
            await change(signal);
          }
        }
      } finally {
        watchers -= 1;
        if (watchers === 0) clearTimeout(timer);
      }
    },
    async drained(signal) {
      while (!draining && !signal.aborted) await change(signal);
    },
    drain,
    [Symbol.dispose]: drain,
  };
}

function isReady(state: DatastoreState | "not ready"): boolean {
  return state !== "not ready";
}
