import { performance } from "node:perf_hooks";

/** Maximum part of an interval for which the event loop of an idle service is active: probes and sweeps take less. */
const idleUtilization = 0.02;

/**
 * Collects the garbage of the start, once, at the end of the first interval without load. V8 keeps the memory otherwise: it
 * collects when the heap grows. The collection stops the process for some 50 ms, which no call should wait for.
 *
 * @param interval in milliseconds.
 */
export function collectOnceIdle(interval = 1_000): Disposable {
  const { gc } = globalThis;
  // Without --expose-gc, which the launcher sets.
  if (gc === undefined) return { [Symbol.dispose]() {} };
  let before = performance.eventLoopUtilization();
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    if (utilization > idleUtilization) return;
    clearInterval(timer);
    // Only this one gives the semi-spaces back that the start has filled.
    gc({ type: "major", flavor: "last-resort" });
  }, interval);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
