import type { Connection } from "./connection.ts";

/** Decides when the next call is made. */
export interface Pace {
  start(connections: readonly Connection[], streams: number): void;
  /** A connection has had an answer, and can make another call. */
  onFree(connection: Connection): void;
  /** Ends the calls. */
  stop(): void;
}

/** @param due when the call was scheduled, in milliseconds of `performance.now()`. */
type Call = (connection: Connection, due: number) => void;

/** Closed loop: each answer is followed by the next call. */
export function saturate(call: Call): Pace {
  let calling = true;
  return {
    start(connections, streams) {
      for (const connection of connections) {
        for (let stream = 0; stream < streams; stream++) call(connection, performance.now());
        connection.flush();
      }
    },
    onFree(connection) {
      if (calling) call(connection, performance.now());
    },
    stop() {
      calling = false;
    },
  };
}

/** The sleep between two turns, in milliseconds. It delays calls and answers; a shorter one costs more CPU. */
const nap = 0.1;
const never = new Int32Array(new SharedArrayBuffer(4));

/**
 * Open loop: calls are scheduled at even intervals, however long the answers take. A call that finds no free connection
 * waits, and its latency counts from the time that it was scheduled for.
 *
 * Node's timers have a resolution of a millisecond, and a busy loop would take the core from the database. So the loop
 * sleeps for a fraction of a millisecond between two turns of the event loop.
 *
 * @param rate calls a second.
 * @param onSent takes the delay of each call behind its schedule, in milliseconds.
 */
export function atRate(rate: number, call: Call, onSent: (lateness: number) => void): Pace {
  const gap = 1000 / rate;
  const free: Connection[] = [];
  const overdue: number[] = [];
  let calling = true;
  let next = 0;

  function turn(): void {
    if (!calling) return;
    const now = performance.now();
    for (; next <= now; next += gap) {
      onSent(now - next);
      const connection = free.shift();
      if (connection === undefined) overdue.push(next);
      else {
        call(connection, next);
        connection.flush();
      }
    }
    Atomics.wait(never, 0, 0, nap);
    setImmediate(turn);
  }

  return {
    start(connections, streams) {
      for (let stream = 0; stream < streams; stream++) free.push(...connections);
      next = performance.now();
      turn();
    },
    onFree(connection) {
      const due = overdue.shift();
      if (due === undefined) free.push(connection);
      else call(connection, due);
    },
    stop() {
      calling = false;
    },
  };
}
