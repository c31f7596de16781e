/** Compares connections and streams with their limits at intervals, which is cheaper than a timer for each. */
export interface Sweeps extends Disposable {
  /** @param sweep called at each interval, with the sweeps' clock in milliseconds. */
  add(sweep: (now: number) => void): void;
}

/**
 * The sweeps' clock stops while the process is paused, so that what clients have sent meanwhile is read before their timeouts
 * expire.
 *
 * @param interval in milliseconds.
 */
export function startSweeps(interval: number): Sweeps {
  const sweeps: ((now: number) => void)[] = [];
  let now = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const present = performance.now();
    now += Math.min(present - last, 2 * interval);
    last = present;
    for (const sweep of sweeps) sweep(now);
  }, interval).unref();
  return { add: (sweep) => void sweeps.push(sweep), [Symbol.dispose]: () => clearInterval(timer) };
}
