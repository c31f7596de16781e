import type { Connection } from "./connection.ts";

/** Decides when the next question is asked. */
export interface Pace {
  start(connections: readonly Connection[], streams: number): void;
  /** A connection has had an answer, and takes another question. */
  onFree(connection: Connection): void;
  /** Asks nothing any more. */
  stop(): void;
}

/** @param due when the question ought to be asked, in milliseconds of `performance.now()`. */
type Ask = (connection: Connection, due: number) => void;

/** Closed loop: each answer is followed by the next question. */
export function saturate(ask: Ask): Pace {
  let asking = true;
  return {
    start(connections, streams) {
      for (const connection of connections) {
        for (let stream = 0; stream < streams; stream++) ask(connection, performance.now());
        connection.flush();
      }
    },
    onFree(connection) {
      if (asking) ask(connection, performance.now());
    },
    stop() {
      asking = false;
    },
  };
}

/** How long to sleep, in milliseconds: what is due, or arrives, meanwhile has to wait. A shorter one costs more CPU. */
const nap = 0.1;
const never = new Int32Array(new SharedArrayBuffer(4));

/**
 * Open loop: questions are due at even distances, whatever the answers do. One that finds no free connection waits,
 * and its latency counts from when it was due.
 *
 * Node's timers know whole milliseconds only, and a busy loop would take the core from the database. Short naps
 * between the turns of the event loop do neither.
 *
 * @param rate questions a second.
 * @param onSent is given how long after it was due a question was asked, in milliseconds.
 */
export function atRate(rate: number, ask: Ask, onSent: (lateness: number) => void): Pace {
  const gap = 1000 / rate;
  const free: Connection[] = [];
  const overdue: number[] = [];
  let asking = true;
  let next = 0;

  function turn(): void {
    if (!asking) return;
    const now = performance.now();
    for (; next <= now; next += gap) {
      onSent(now - next);
      const connection = free.shift();
      if (connection === undefined) overdue.push(next);
      else {
        ask(connection, next);
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
      else ask(connection, due);
    },
    stop() {
      asking = false;
    },
  };
}
