import { EventEmitter, once } from "node:events";

/** Whether this instance should get calls. */
export interface Readiness extends Disposable {
  /**
   * Whether the datastore answers and {@link drain} was not called. Asks at most once an interval, however often
   * it is called; in between, and while an attempt runs, everybody shares one answer. Never rejects.
   */
  ready(): Promise<boolean>;
  /**
   * The current state first, then each change; whoever is slow to take one gets the latest. Ends when the
   * signal fires, and after drain. The datastore is asked once an interval only while somebody watches.
   */
  watch(signal: AbortSignal): AsyncIterable<boolean>;
  /** Resolves once {@link drain} was called, or when the signal fires. Asks nothing of the datastore. */
  drained(signal: AbortSignal): Promise<void>;
  /** From now on, and for good: not ready. Whoever waits or watches is told at once. Disposing does the same. */
  drain(): void;
}

interface ReadinessOptions {
  /** Shortest time between two attempts, in milliseconds. Default 1000. */
  readonly interval?: number;
  /** How long the datastore may take to answer, in milliseconds. Default 1000. */
  readonly timeout?: number;
  /** Told of the first finding and of each change; the cause is what the probe rejected with, if it did. */
  readonly onChange?: (ready: boolean, cause?: unknown) => void;
}

/**
 * @param probe asks the datastore. To reject, or to take longer than the timeout, means not ready. Its signal
 *   fires when the answer is of no use any more.
 */
export function createReadiness(
  probe: (signal: AbortSignal) => Promise<void>,
  options: ReadinessOptions = {},
): Readiness {
  const { interval = 1000, timeout = 1000, onChange } = options;
  const changes = new EventEmitter().setMaxListeners(0);
  let state: boolean | undefined;
  let draining = false;
  let answer = Promise.resolve(false);
  let attempt: AbortController | undefined;
  let attemptedAt = Number.NEGATIVE_INFINITY;
  let watchers = 0;
  let timer: NodeJS.Timeout | undefined;

  function settle(ready: boolean, cause?: unknown): void {
    if (ready === state) return;
    state = ready;
    onChange?.(ready, cause);
    changes.emit("change");
  }

  async function ask(): Promise<boolean> {
    const current = new AbortController();
    attempt = current;
    attemptedAt = performance.now();
    const late = () => current.abort(new Error(`the datastore did not answer within ${timeout} ms`));
    const patience = setTimeout(late, timeout).unref();
    let answered = false;
    let cause: unknown;
    try {
      await Promise.race([probe(current.signal), abortion(current.signal)]);
      answered = true;
    } catch (error) {
      cause = error;
    }
    clearTimeout(patience);
    attempt = undefined;
    settle(answered && !draining, cause);
    return state === true;
  }

  function ready(): Promise<boolean> {
    const due = performance.now() - attemptedAt >= interval;
    if (due && attempt === undefined && !draining) answer = ask();
    return answer;
  }

  async function poll(): Promise<void> {
    await ready();
    if (watchers === 0 || draining) return;
    // Somebody may have called ready() since the timer was set, or the last watcher may have been replaced while
    // we waited: so the next turn counts from the last attempt, and there is one timer.
    clearTimeout(timer);
    timer = setTimeout(poll, Math.max(1, attemptedAt + interval - performance.now())).unref();
  }

  async function change(signal: AbortSignal): Promise<void> {
    // Rejects only when the signal fires, which the callers look at themselves.
    await once(changes, "change", { signal }).catch(() => undefined);
  }

  function drain(): void {
    if (draining) return;
    draining = true;
    answer = Promise.resolve(false);
    clearTimeout(timer);
    attempt?.abort(new Error("the server is draining"));
    settle(false);
    // Those who already knew "not ready" wait for the end.
    changes.emit("change");
  }

  return {
    ready,
    async *watch(signal) {
      watchers += 1;
      if (watchers === 1) void poll();
      try {
        await ready();
        let told: boolean | undefined;
        while (!signal.aborted) {
          if (state !== undefined && state !== told) {
            told = state;
            yield told;
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

function abortion(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
