import { randomUUID } from "node:crypto";
import { isDocumentedFailure } from "../faults/callers.ts";
import { type Answer, type Client, type Protocol, protocols } from "../protocols.ts";
import type { Urls } from "./front.ts";
import { acknowledgedBy, type ProducedJob } from "./producers.ts";

/** A service that the pollers call through its balancer, and how old its answers may be. */
export interface Polled {
  readonly name: string;
  readonly urls: Urls;
  /** In milliseconds. */
  readonly maxStaleness: number;
}

/** What callers of a service saw over one protocol. */
export interface Tally {
  readonly protocol: "REST" | "gRPC";
  readonly calls: number;
  readonly wrong: number;
  /** Of the calls for jobs that were there, and of the others. Includes those that the balancer refused. */
  readonly failed: { readonly known: number; readonly others: number };
  /** Of both, those that the balancer answered itself, since it had no instance to pass them to. */
  readonly refused: number;
  /** What was wrong, and then what failed. */
  readonly complaints: readonly string[];
}

interface Outcome {
  readonly verdict: "right" | "failed" | "refused" | "wrong";
  /** When the creation of the job was acknowledged; undefined: it was not when the question was asked. */
  readonly createdAt: number | undefined;
  readonly detail: string;
}

export interface Pollers {
  /** Ends the calls and waits for their answers. @param brokenAt when the writes ceased, by `performance.now()`. */
  stop(brokenAt: number): Promise<Tally[]>;
}

const polledProtocols = ["REST, HTTP/1.1", "gRPC, @grpc/grpc-js"];
const clients = 2;
/** Between two calls of one client, in milliseconds. */
const pace = 30;
/** Jobs that change now are asked for most. */
const recent = 12;
/** Jobs that were created so long before the end of a primary, in milliseconds, have reached all standbys. */
const replicationTime = 100;

/** Asks steadily, over REST and gRPC, for jobs that change meanwhile, and judges each answer. */
export function startPollers(service: Polled, jobs: readonly ProducedJob[]): Pollers {
  const pollers = protocols
    .filter(({ name }) => polledProtocols.includes(name))
    .map((protocol) => startPoller(service, protocol, jobs));
  return { stop: (brokenAt) => Promise.all(pollers.map((stop) => stop(brokenAt))) };
}

function startPoller(service: Polled, protocol: Protocol, jobs: readonly ProducedJob[]) {
  const outcomes: Outcome[] = [];
  const running = new Set<Promise<void>>();
  const open = Array.from({ length: clients }, () => protocol.open(urlFor(service.urls, protocol)));
  let turn = 0;

  async function one(client: Client): Promise<void> {
    turn++;
    const job = turn % 8 === 0 ? undefined : choose(jobs, turn);
    const startedAt = performance.now();
    const answer = await client
      .ask(job?.reqId ?? randomUUID())
      .catch((error): Answer => ({ code: String(error.cause ?? error), reason: undefined, more: "" }));
    const verdict = judge(answer, job, startedAt, service.maxStaleness, protocol);
    const took = Math.round(performance.now() - startedAt);
    const detail = `${JSON.stringify(answer)} after ${took} ms for ${JSON.stringify(job)}, asked at ${startedAt}`;
    const createdAt = job?.acknowledgedAt.find((at) => at <= startedAt);
    outcomes.push({ verdict, createdAt, detail });
  }

  const timers = open.map((client, index) =>
    setInterval(
      () => {
        const call = one(client);
        running.add(call);
        void call.finally(() => running.delete(call));
      },
      // Not in step.
      pace + index,
    ),
  );

  return async (brokenAt: number): Promise<Tally> => {
    timers.forEach(clearInterval);
    await Promise.all(running);
    for (const client of open) client.close();
    const refused = outcomes.filter(({ verdict }) => verdict === "refused");
    const failed = outcomes.filter(({ verdict }) => verdict === "failed").concat(refused);
    const wrong = outcomes.filter(({ verdict }) => verdict === "wrong");
    const isKnown = ({ createdAt = brokenAt }: Outcome) =>
      createdAt < brokenAt - replicationTime || createdAt > brokenAt;
    const known = failed.filter(isKnown);
    return {
      protocol: protocol.isRest ? "REST" : "gRPC",
      calls: outcomes.length,
      wrong: wrong.length,
      failed: { known: known.length, others: failed.length - known.length },
      refused: refused.length,
      complaints: [...wrong, ...known].slice(0, 5).map(({ detail }) => detail),
    };
  };
}

function urlFor(urls: Urls, { isRest }: Protocol): string {
  return isRest ? urls.rest : urls.grpc;
}

function choose(jobs: readonly ProducedJob[], turn: number): ProducedJob | undefined {
  const back = turn % 4 === 0 ? jobs.length : recent;
  return jobs.at(-1 - Math.floor(Math.random() * Math.min(back, jobs.length)));
}

/**
 * Right is a state that was written, and not older than what had been acknowledged `maxStaleness` before the question;
 * and "not found" only as long as the job's creation was not acknowledged.
 */
function judge(
  answer: Answer,
  job: ProducedJob | undefined,
  startedAt: number,
  maxStaleness: number,
  { isRest }: Protocol,
): Outcome["verdict"] {
  if ("json" in answer) {
    if (job === undefined) return "wrong";
    const { status, error } = JSON.parse(answer.json);
    const read = job.states.indexOf(status) + 1;
    const isWritten = read > 0 && read <= job.attempted;
    const isRecent = read >= acknowledgedBy(job, startedAt - maxStaleness);
    const isWhole = error === (status === "failure" ? job.error : undefined);
    return isWritten && isRecent && isWhole ? "right" : "wrong";
  }
  if (answer.reason === "STATUS_NOT_FOUND") {
    return job === undefined || acknowledgedBy(job, startedAt) === 0 ? "right" : "wrong";
  }
  if (isRefusedByBalancer(answer, isRest)) return "refused";
  return isDocumentedFailure(answer, isRest) ? "failed" : "wrong";
}

/** Every failure that the service itself answers has a reason. HAProxy's 503 has none, and is UNAVAILABLE over gRPC. */
function isRefusedByBalancer(answer: Answer, isRest = false): boolean {
  if ("json" in answer || answer.reason !== undefined) return false;
  return isRest
    ? answer.code === 503 && answer.more.includes("No server is available")
    : answer.code === "UNAVAILABLE";
}
