/** Limits how many users a resource has at a time. The others wait in the order in which they came. */
export interface Semaphore {
  /** How many wait. */
  readonly waiting: number;
  /** Resolves at once while there are permits. Each permit is to be released. */
  acquire(): Promise<void>;
  release(): void;
  /** From now on. Permits that are held stay so. */
  limitTo(permits: number): void;
}

/** @param onWait called when an acquirer has to wait. */
export function createSemaphore(permits: number, onWait: () => void): Semaphore {
  let limit = permits;
  let held = 0;
  const waiting: (() => void)[] = [];

  function admit(): void {
    while (held < limit && waiting.length > 0) {
      held++;
      waiting.shift()?.();
    }
  }

  return {
    get waiting() {
      return waiting.length;
    },
    acquire() {
      return new Promise((resolve) => {
        waiting.push(resolve);
        admit();
        if (waiting.length > 0) onWait();
      });
    },
    release() {
      held--;
      admit();
    },
    limitTo(newLimit) {
      limit = newLimit;
      admit();
    },
  };
}
