/** Whoever works for a call, and can be told to stop. */
export interface Worker {
  cancel(reason: unknown): void;
}

/**
 * One caller's patience: how long an answer is of use, and whether it still is.
 *
 * Cheaper than an AbortSignal with a timer, of which the hot paths would need one a call: whoever works for
 * the call compares {@link deadline} with the clock, and sets {@link worker} while there is something to stop.
 */
export class Call {
  /** When to give up, in milliseconds of `performance.now()`. */
  readonly deadline: number;
  /** Told once, by {@link cancel}. At most one works for a call at a time. */
  worker: Worker | undefined;
  #cancelled = false;
  #reason: unknown;

  constructor(deadline: number) {
    this.deadline = deadline;
  }

  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Why the call was cancelled: what its work is to be rejected with. */
  get reason(): unknown {
    return this.#reason;
  }

  /** The caller has gone, or has given up. Only the first time counts. */
  cancel(reason: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#reason = reason;
    this.worker?.cancel(reason);
  }
}
