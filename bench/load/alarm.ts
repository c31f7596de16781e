import { Worker } from "node:worker_threads";

/** Wakes the event loop at a time, with microseconds instead of the milliseconds of Node's timers. One call at a time. */
export interface Alarm {
  /** @param at in milliseconds of `performance.now()`. The next one may be set when this one has gone off. */
  set(at: number): void;
  close(): void;
}

/** How long before the time the thread wakes up, in milliseconds: until the event loop runs, as much passes again. */
const lead = 0.02;

/**
 * The thread sleeps in a futex, whose timeout has the resolution of the kernel's timers, while the event loop waits for
 * answers and is woken by each at once. A thread inherits the timer slack of the one that starts it.
 */
const program = `
  const { parentPort, workerData } = require("node:worker_threads");
  const never = new Int32Array(new SharedArrayBuffer(4));
  const offset = performance.timeOrigin - workerData.timeOrigin;
  parentPort.on("message", (at) => {
    const duration = at - offset - performance.now() - workerData.lead;
    if (duration > 0) Atomics.wait(never, 0, 0, duration);
    parentPort.postMessage(undefined);
  });`;

/** @param onAlarm may be called up to 0.02 ms before the time. */
export function createAlarm(onAlarm: () => void): Alarm {
  const { timeOrigin } = performance;
  const thread = new Worker(program, { eval: true, workerData: { timeOrigin, lead } });
  thread.on("message", onAlarm);
  return {
    set: (at) => thread.postMessage(at),
    close: () => void thread.terminate(),
  };
}
