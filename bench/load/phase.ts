import { setTimeout as pause } from "node:timers/promises";
import { grpcAnswers, jsonAnswers, variety } from "../rows.ts";
import type { Connection, ConnectionEvents } from "./connection.ts";
import { connectHttp1 } from "./http1.ts";
import { connectHttp2 } from "./http2.ts";
import { rowsInOrder } from "./order.ts";
import { atRate, saturate } from "./pace.ts";
import { createWatch, type Measurements } from "./watch.ts";

/** A load on a server for some seconds. */
export interface Phase {
  readonly protocol: "rest" | "grpc";
  readonly port: number;
  readonly connections: number;
  /** Concurrent calls on each connection. 1 for REST. */
  readonly streams: number;
  /** Calls a second. Absent: each answer is followed by the next call. */
  readonly rate?: number;
  /** The delay, in milliseconds, before a call that was shed is made again. Absent: a shed call fails the phase. */
  readonly retryAfter?: number;
  /** Seconds under the same load before the window. */
  readonly warmUp: number;
  /** Length of the window, in seconds. */
  readonly seconds: number;
  readonly rows: number;
  /** The first of these rows. Absent: 0. */
  readonly firstRow?: number;
  /** The row of the first call. */
  readonly seed: number;
  /** When row 0 was created, in Unix seconds; or the constant answer of a baseline server, in hexadecimal digits. */
  readonly answers: number | string;
  readonly serverPid: number;
  readonly databasePid: number;
}

export interface PhaseResult extends Measurements {
  /** The answers of the whole phase, including those outside the window. */
  readonly answersInAll: number;
}

/** The time limit, in milliseconds, for the answers that are outstanding after the window. */
const drainTimeout = 10_000;

/** @throws Error at the first wrong answer or lost connection. */
export async function runPhase(phase: Phase): Promise<PhaseResult> {
  const watch = createWatch(phase.serverPid, phase.databasePid);
  const nextRow = rowsInOrder(phase.rows, phase.seed);
  const firstRow = phase.firstRow ?? 0;
  const failure = Promise.withResolvers<never>();
  const drained = Promise.withResolvers<void>();
  let answersInAll = 0;
  let inFlight = 0;
  let draining = false;

  function call(connection: Connection, due: number): void {
    inFlight++;
    connection.call(firstRow + nextRow(), due);
  }
  function callAgain(connection: Connection): void {
    pace.onFree(connection);
    connection.flush();
  }
  const pace = phase.rate === undefined ? saturate(call) : atRate(phase.rate, call, watch.sent);

  async function work(): Promise<Measurements> {
    await using opened = new AsyncDisposableStack();
    const connections = await connectAll(phase, {
      onFailure: failure.reject,
      onAnswer(connection, due) {
        watch.answered(performance.now() - due);
        answersInAll++;
        inFlight--;
        pace.onFree(connection);
        if (draining && inFlight === 0) drained.resolve();
      },
      onShed(connection) {
        if (phase.retryAfter === undefined) return failure.reject(new Error("the server shed a call"));
        watch.shed();
        inFlight--;
        if (draining && inFlight === 0) drained.resolve();
        if (phase.retryAfter === 0) pace.onFree(connection);
        else setTimeout(callAgain, phase.retryAfter * (0.8 + 0.4 * Math.random()), connection);
      },
    });
    for (const connection of connections) opened.defer(() => connection.close());
    pace.start(connections, phase.streams);
    await pause(phase.warmUp * 1000);
    watch.begin();
    await pause(phase.seconds * 1000);
    const measurements = watch.end();
    pace.stop();
    draining = true;
    if (inFlight > 0) await Promise.race([drained.promise, tooLate()]);
    return measurements;
  }

  async function tooLate(): Promise<never> {
    await pause(drainTimeout, undefined, { ref: false });
    throw new Error(`${inFlight} calls were not answered within ${drainTimeout} ms`);
  }

  return { ...(await Promise.race([work(), failure.promise])), answersInAll };
}

function connectAll(phase: Phase, events: ConnectionEvents): Promise<Connection[]> {
  const { protocol, port } = phase;
  const answers = answersOf(phase);
  const connect = () =>
    protocol === "rest" ? connectHttp1(port, answers, events) : connectHttp2(port, answers, events);
  return Promise.all(Array.from({ length: phase.connections }, connect));
}

function answersOf({ protocol, answers }: Phase): Buffer[] {
  if (typeof answers === "string") return Array<Buffer>(variety).fill(Buffer.from(answers, "hex"));
  return protocol === "rest" ? jsonAnswers(answers) : grpcAnswers(answers);
}
