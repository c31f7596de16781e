import { setTimeout as pause } from "node:timers/promises";
import { grpcAnswers, jsonAnswers, variety } from "../rows.ts";
import type { Connection, ConnectionEvents } from "./connection.ts";
import { connectHttp1 } from "./http1.ts";
import { connectHttp2 } from "./http2.ts";
import { rowsInOrder } from "./order.ts";
import { atRate, saturate } from "./pace.ts";
import { createWatch, type Seen } from "./watch.ts";

/** What the load generator is to do with a server for a while. */
export interface Phase {
  readonly protocol: "rest" | "grpc";
  readonly port: number;
  readonly connections: number;
  /** Calls at the same time on a connection. 1 for REST. */
  readonly streams: number;
  /** Questions a second. Without it, each answer is followed by the next question. */
  readonly rate?: number;
  /** How long, in milliseconds, who is shed waits before it asks again. Absent: no call may be shed. */
  readonly retryAfter?: number;
  /** Seconds before the window, under the same load. */
  readonly warmUp: number;
  /** Length of the window, in seconds. */
  readonly seconds: number;
  readonly rows: number;
  /** The row to begin with. */
  readonly seed: number;
  /** When row 0 was created, in seconds since 1970; or the one answer of a floor, in hexadecimal digits. */
  readonly answers: number | string;
  readonly serverPid: number;
  readonly databasePid: number;
}

export interface PhaseResult extends Seen {
  /** Answers of the whole phase, those outside of the window included. */
  readonly answersInAll: number;
}

/** How long, in milliseconds, answers may take after the last question. */
const drainTimeout = 10_000;

/** @throws Error at the first wrong answer, or connection that is lost. */
export async function runPhase(phase: Phase): Promise<PhaseResult> {
  const watch = createWatch(phase.serverPid, phase.databasePid);
  const nextRow = rowsInOrder(phase.rows, phase.seed);
  const failure = Promise.withResolvers<never>();
  const drained = Promise.withResolvers<void>();
  let answersInAll = 0;
  let inFlight = 0;
  let draining = false;

  function ask(connection: Connection, due: number): void {
    inFlight++;
    connection.ask(nextRow(), due);
  }
  function askAgain(connection: Connection): void {
    pace.onFree(connection);
    connection.flush();
  }
  const pace = phase.rate === undefined ? saturate(ask) : atRate(phase.rate, ask, watch.sent);

  async function work(): Promise<Seen> {
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
        else setTimeout(askAgain, phase.retryAfter * (0.8 + 0.4 * Math.random()), connection);
      },
    });
    for (const connection of connections) opened.defer(() => connection.close());
    pace.start(connections, phase.streams);
    await pause(phase.warmUp * 1000);
    watch.begin();
    await pause(phase.seconds * 1000);
    const seen = watch.end();
    pace.stop();
    draining = true;
    if (inFlight > 0) await Promise.race([drained.promise, tooLate()]);
    return seen;
  }

  async function tooLate(): Promise<never> {
    await pause(drainTimeout, undefined, { ref: false });
    throw new Error(`${inFlight} questions were not answered within ${drainTimeout} ms`);
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
