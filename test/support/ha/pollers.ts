import { randomUUID } from "node:crypto";
import { isDocumentedFailure } from "../faults/callers.ts";
import { type Answer, type Client, type Protocol, protocols } from "../protocols.ts";
import type { Urls } from "./front.ts";
import { acknowledgedBy, type ProducedJob } from "./producers.ts";

/** A service that the pollers call through its balancer. */
export interface Polled {
  readonly name: string;
  readonly urls: Urls;
  /** The greatest age of an answer, in milliseconds. */
  readonly maxStaleness: number;
}

/** The calls of a service over one protocol. */
export interface Tally {
  readonly protocol: "REST" | "gRPC";
  readonly calls: number;
  readonly wrong: number;
  /** Failed calls for jobs that existed, and for other ids. Includes the calls that the balancer refused. */
  readonly failed: { readonly known: number; readonly others: number };
  /** The failed calls that the balancer answered itself, since no instance was up. */
  readonly refused: number;
  /** Details of wrong answers and of failed calls, the wrong ones first. */
  readonly complaints: readonly string[];
}

interface Outcome {
  readonly verdict: "right" | "failed" | "refused" | "wrong";
  /** When the creation of the job was acknowledged; undefined: not before the call. */
  readonly createdAt: number | undefined;
  readonly detail: string;
}

export interface Pollers {
  /** Ends the calls and waits for their answers. @param brokenAt when writes stopped, by `performance.now()`. */
  stop(brokenAt: number): Promise<Tally[]>;
}

const polledProtocols = ["REST, HTTP/1.1", "gRPC, @grpc/grpc-js"];
const clients = 2;
/** The interval between two calls of one client, in milliseconds. */
const pace = 30;
/** Most calls are for this number of the newest jobs, which are changing. */
const recent = 12;
/** The age, in milliseconds, from which a job counts as replicated to all standbys. */
const replicationTime = 100;

/** Calls a service at a fixed rate over REST and gRPC, for jobs that are changing, and checks each answer. */
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
    const verdict = check(answer, job, startedAt, service.maxStaleness, protocol);
    const took = Math.round(performance.now() - startedAt);
    const detail = `${JSON.stringify(answer)} after ${took} ms for ${JSON.stringify(job)}, called at ${startedAt}`;
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
      // The clients' intervals differ, so that their calls do not coincide.
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
 * An answer is right when its state was written and is not older than the state that had been acknowledged `maxStaleness`
 * before the call. "Not found" is right only if the job's creation had not been acknowledged.
 */
function check(
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
