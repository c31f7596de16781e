import { randomUUID } from "node:crypto";
import { type Answer, type Client, type Protocol, protocols, technicalIssues } from "../protocols.ts";

/** The id of a job, and its right answer. */
export interface Known {
  readonly reqId: string;
  readonly json: string;
}

/** How a call ended. */
interface Outcome {
  readonly startedAt: number;
  readonly verdict: "right" | "failed" | "wrong";
  readonly late: boolean;
  /** The call and its answer, for the message of a failed test. */
  readonly detail: string;
}

/** The calls of a family of protocols during a fault. Times in milliseconds. */
export interface Tally {
  readonly family: string;
  readonly calls: number;
  readonly wrong: number;
  readonly late: number;
  readonly failed: number;
  /** From the fault's end to the last call that failed. */
  readonly recoveredIn: number;
  readonly complaints: readonly string[];
}

export interface Callers extends AsyncDisposable {
  /** Ends the calls and waits for their answers. @param endedAt the fault's end, by `performance.now()`. */
  stop(endedAt: number): Promise<Tally[]>;
}

const families = ["REST", "Connect", "gRPC-Web", "gRPC"];

/** The deadline, in milliseconds, that every other RPC carries. */
const ownDeadline = 500;
const tolerance = 50;

/** The documented failures while the database is broken, by their reasons. */
const failures: Record<string, string> = {
  DATASTORE_UNAVAILABLE: "UNAVAILABLE",
  DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
};

interface CallersOptions {
  /** The interval between two calls of one client, in milliseconds. */
  readonly pace?: number;
  /** The URL for clients of HTTP/2, if it is another one. */
  readonly http2Url?: string;
}

/** Calls the service at a fixed rate over every protocol, with known and unknown ids, and checks each answer. */
export function startCallers(
  url: string,
  known: readonly Known[],
  requestTimeout: number,
  { pace = 50, http2Url = url }: CallersOptions = {},
): Callers {
  const outcomes = new Map<string, Outcome[]>(families.map((family) => [family, []]));
  const open: Client[] = [];
  const running = new Set<Promise<void>>();
  const clock = startClock();
  let turn = 0;

  const timers = protocols.map((protocol, index) => {
    const family = families.find((name) => protocol.name.startsWith(name)) ?? "";
    const client = protocol.open(protocol.name.includes("HTTP/1.1") ? url : http2Url);
    open.push(client);
    return setInterval(
      () => {
        const call = one(protocol, client).then((outcome) => void outcomes.get(family)?.push(outcome));
        running.add(call);
        void call.finally(() => running.delete(call));
      },
      // The clients' intervals differ, so that their calls do not coincide.
      pace + (index % 5),
    );
  });

  async function one(protocol: Protocol, client: Client): Promise<Outcome> {
    turn++;
    const row = turn % 5 === 0 ? undefined : known[turn % known.length];
    const timeoutMs = !protocol.isRest && turn % 2 === 0 ? ownDeadline : undefined;
    const startedAt = performance.now();
    const answer = await client
      .ask(row?.reqId ?? randomUUID(), timeoutMs === undefined ? {} : { timeoutMs })
      .catch(
        (error): Answer => ({ code: String(error.cause ?? error), reason: undefined, more: "no answer" }),
      );
    const took = performance.now() - startedAt - clock.lagSince(startedAt);
    const verdict = check(answer, row, protocol, timeoutMs !== undefined);
    const late = took > (timeoutMs ?? requestTimeout) + tolerance;
    return {
      startedAt,
      verdict,
      late,
      detail: `${protocol.name}, ${row?.json ?? "unknown id"}: ${JSON.stringify(answer)} after ${Math.round(took)} ms`,
    };
  }

  async function end(): Promise<void> {
    timers.forEach(clearInterval);
    await Promise.all(running);
    for (const client of open.splice(0)) client.close();
    clock.stop();
  }

  return {
    [Symbol.asyncDispose]: end,
    async stop(endedAt) {
      await end();
      return families.map((family) => tally(family, outcomes.get(family) ?? [], endedAt));
    },
  };
}

function check(answer: Answer, row: Known | undefined, { isRest }: Protocol, hasDeadline: boolean) {
  if ("json" in answer) return answer.json === row?.json ? "right" : "wrong";
  const { code, reason = "" } = answer;
  if (reason === "STATUS_NOT_FOUND" && row === undefined) return "right";
  // A client that sets a deadline also ends the call itself, without a reason of the service's.
  if (hasDeadline && reason === "" && code === "DEADLINE_EXCEEDED") return "failed";
  return isDocumentedFailure(answer, isRest) ? "failed" : "wrong";
}

/** Whether an answer is a documented failure of a broken database, in its documented form. */
export function isDocumentedFailure(answer: Answer, isRest = false): boolean {
  if ("json" in answer) return false;
  const { code, reason = "", more } = answer;
  if (isRest) return code === 500 && reason in failures && more === technicalIssues;
  return failures[reason] === code;
}

function tally(family: string, outcomes: readonly Outcome[], endedAt: number): Tally {
  const count = (is: (outcome: Outcome) => boolean) => outcomes.filter(is).length;
  const bad = outcomes.filter(({ verdict, late }) => verdict === "wrong" || late);
  return {
    family,
    calls: outcomes.length,
    wrong: count(({ verdict }) => verdict === "wrong"),
    late: count(({ late }) => late),
    failed: count(({ verdict }) => verdict === "failed"),
    recoveredIn: Math.max(
      0,
      ...outcomes
        .filter(({ verdict }) => verdict !== "right")
        .map(({ startedAt }) => Math.ceil(startedAt - endedAt)),
    ),
    complaints: bad.slice(0, 5).map(({ detail }) => detail),
  };
}

/** Measures how long this process itself was busy, which must not count as the service's time. */
function startClock() {
  const interval = 5;
  const delays: { at: number; lag: number }[] = [];
  let expected = performance.now() + interval;
  const timer = setInterval(() => {
    const at = performance.now();
    if (at - expected > interval) delays.push({ at, lag: at - expected });
    expected = at + interval;
  }, interval);
  return {
    /** The sum of the delays since then, in milliseconds. */
    lagSince(since: number): number {
      let sum = Math.max(0, performance.now() - expected);
      for (let i = delays.length - 1; i >= 0; i--) {
        const delay = delays[i];
        if (delay === undefined || delay.at < since) break;
        sum += delay.lag;
      }
      return sum;
    },
    stop: () => clearInterval(timer),
  };
}
