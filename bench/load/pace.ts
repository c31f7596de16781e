import { createAlarm } from "./alarm.ts";
import { exponentialGaps } from "./arrivals.ts";
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

/** The longest time, in milliseconds, that is spent waiting for a call's time without sleeping. */
const longestSpin = 0.02;

/**
 * Open loop: calls arrive at random (a Poisson process, as the calls of many independent callers do), however long the
 * answers take. A call that finds no free connection waits, and its latency counts from the time that it was scheduled for.
 *
 * @param rate calls a second, on average.
 * @param onSent takes the delay of each call behind its schedule, in milliseconds.
 */
export function atRate(rate: number, call: Call, onSent: (lateness: number) => void): Pace {
  const nextGap = exponentialGaps(1000 / rate);
  const free: Connection[] = [];
  const overdue: number[] = [];
  const alarm = createAlarm(sendDue);
  let calling = true;
  let next = 0;

  function sendDue(): void {
    if (!calling) return;
    const now = performance.now();
    // The alarm goes off a little early. Waiting out these microseconds costs less CPU than another alarm.
    while (next - now < longestSpin && performance.now() < next);
    for (const sent = performance.now(); next <= sent; next += nextGap()) {
      onSent(sent - next);
      const connection = free.shift();
      if (connection === undefined) overdue.push(next);
      else {
        call(connection, next);
        connection.flush();
      }
    }
    alarm.set(next);
  }

  return {
    start(connections, streams) {
      for (let stream = 0; stream < streams; stream++) free.push(...connections);
      next = performance.now() + nextGap();
      alarm.set(next);
    },
    onFree(connection) {
      const due = overdue.shift();
      if (due === undefined) free.push(connection);
      else call(connection, due);
    },
    stop() {
      calling = false;
      alarm.close();
      // A server that cannot keep the rate is not asked for what is left.
      overdue.length = 0;
    },
  };
}
