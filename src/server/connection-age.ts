/** All in milliseconds. */
export interface AgeLimits {
  /** Plus or minus 10 %, so that connections opened at the same time are not closed at the same time. */
  readonly maxConnectionAge: number;
  /** How long held calls may continue after that. */
  readonly maxConnectionAgeGrace: number;
}

/**
 * The age of a connection. Connections of a limited age let clients find instances that were started later.
 *
 * Its clock is that of the sweeps, and starts with the first question.
 */
export class ConnectionAge {
  readonly #limits: AgeLimits;
  readonly #jitter = 0.9 + 0.2 * Math.random();
  #openedAt: number | undefined;

  constructor(limits: AgeLimits) {
    this.#limits = limits;
  }

  /** Whether the connection takes no more calls. */
  exceedsLimit(now: number): boolean {
    return this.#excess(now) >= 0;
  }

  /** Whether the calls that are held on the connection end, too. */
  exceedsGrace(now: number): boolean {
    return this.#excess(now) >= this.#limits.maxConnectionAgeGrace;
  }

  #excess(now: number): number {
    this.#openedAt ??= now;
    return now - this.#openedAt - this.#jitter * this.#limits.maxConnectionAge;
  }
}
