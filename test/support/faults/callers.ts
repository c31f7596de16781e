import { randomUUID } from "node:crypto";
import { type Answer, type Client, type Protocol, protocols, technicalIssues } from "../protocols.ts";

/** A row that is there, and the answer that is right for it. */
export interface Known {
  readonly reqId: string;
  readonly json: string;
}

/** How a call ended. */
interface Outcome {
  readonly startedAt: number;
  readonly verdict: "right" | "failed" | "wrong";
  readonly late: boolean;
  /** What was wrong, for the message of the test that fails. */
  readonly detail: string;
}

/** What a family of protocols saw of a fault. Times in milliseconds. */
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
  /** Ends the calls and waits for their answers. @param mendedAt by `performance.now()`. */
  stop(mendedAt: number): Promise<Tally[]>;
}

const families = ["REST", "Connect", "gRPC-Web", "gRPC"];

/** Of callers that set one; RPC only. */
const ownDeadline = 500;
const tolerance = 50;

/** The documented failures that a caller may be told while the database is broken. */
const failures: Record<string, string> = {
  DATASTORE_UNAVAILABLE: "UNAVAILABLE",
  DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
};

interface CallersOptions {
  /** Between two calls of one client, in milliseconds. */
  readonly pace?: number;
  /** Where those who speak HTTP/2 call, if it is not the same. */
  readonly http2Url?: string;
}

/** Asks steadily over every protocol, for rows that are there and for ids that are not, and judges each answer. */
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
      // Not in step.
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
    const verdict = judge(answer, row, protocol, timeoutMs !== undefined);
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
    async stop(mendedAt) {
      await end();
      return families.map((family) => tally(family, outcomes.get(family) ?? [], mendedAt));
    },
  };
}

function judge(answer: Answer, row: Known | undefined, { isRest }: Protocol, hasDeadline: boolean) {
  if ("json" in answer) return answer.json === row?.json ? "right" : "wrong";
  const { code, reason = "" } = answer;
  if (reason === "STATUS_NOT_FOUND" && row === undefined) return "right";
  // Clients that set a deadline end the call themselves, too.
  if (hasDeadline && reason === "" && code === "DEADLINE_EXCEEDED") return "failed";
  return isDocumentedFailure(answer, isRest) ? "failed" : "wrong";
}

/** Whether an answer is what a caller may be told while the database is broken, in its documented form. */
export function isDocumentedFailure(answer: Answer, isRest = false): boolean {
  if ("json" in answer) return false;
  const { code, reason = "", more } = answer;
  if (isRest) return code === 500 && reason in failures && more === technicalIssues;
  return failures[reason] === code;
}

function tally(family: string, outcomes: readonly Outcome[], mendedAt: number): Tally {
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
        .map(({ startedAt }) => Math.ceil(startedAt - mendedAt)),
    ),
    complaints: bad.slice(0, 5).map(({ detail }) => detail),
  };
}

/** Tells how long this process itself was busy, which is not the service's fault. */
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
