/** All in milliseconds. */
export interface AgeLimits {
  /** Of a connection, give or take a tenth: those that were opened together are not closed together. */
  readonly maxConnectionAge: number;
  /** How long calls that are held may go on after that. */
  readonly maxConnectionAgeGrace: number;
}

/** The age of a connection, by the sweeps' clock. */
export class ConnectionAge {
  readonly #limits: AgeLimits;
  readonly #jitter = 0.9 + 0.2 * Math.random();
  #bornAt: number | undefined;

  constructor(limits: AgeLimits) {
    this.#limits = limits;
  }

  /** Whether the connection takes no more calls. */
  isOld(now: number): boolean {
    return this.#overdue(now) >= 0;
  }

  /** Whether the calls that are held on it end, too. */
  isOver(now: number): boolean {
    return this.#overdue(now) >= this.#limits.maxConnectionAgeGrace;
  }

  #overdue(now: number): number {
    this.#bornAt ??= now;
    return now - this.#bornAt - this.#jitter * this.#limits.maxConnectionAge;
  }
}
