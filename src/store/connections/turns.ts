/** What at most a limit of users may have at a time; the others wait in the order in which they came. */
export interface Turns {
  /** How many wait. */
  readonly waiting: number;
  /** Resolves when it is one's turn: at once, where the limit allows it. Each turn is to be given back. */
  take(): Promise<void>;
  /** Gives a turn back, for the next that waits. */
  giveBack(): void;
  /** From now on. Turns that are taken stay so. */
  limitTo(limit: number): void;
}

export function createTurns(limit: number): Turns {
  let most = limit;
  let taken = 0;
  const waiting: (() => void)[] = [];

  function next(): void {
    while (taken < most && waiting.length > 0) {
      taken++;
      waiting.shift()?.();
    }
  }

  return {
    get waiting() {
      return waiting.length;
    },
    take() {
      return new Promise((resolve) => {
        waiting.push(resolve);
        next();
      });
    },
    giveBack() {
      taken--;
      next();
    },
    limitTo(newLimit) {
      most = newLimit;
      next();
    },
  };
}
