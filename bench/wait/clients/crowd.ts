import { setTimeout as pause } from "node:timers/promises";
import { idOf } from "../../rows.ts";
import type { Jobs } from "../jobs.ts";
import { call } from "./call.ts";
import type { Connections } from "./connections.ts";
import { isFinal } from "./states.ts";
import { longestWait } from "./ways/long-poll.ts";
import { shed, timeOver } from "./ways/reader.ts";
import type { Way } from "./ways/ways.ts";

export interface CrowdOptions {
  readonly way: Way;
  readonly port: number;
  readonly clients: number;
  /** Over HTTP/2. */
  readonly connections: number;
  /** The jobs that the clients wait for, and as many that they go on with. */
  readonly jobs: Jobs;
  /** How many different jobs are waited for at the same time. */
  readonly distinct: number;
}

/** Many clients, each of which waits for one job, and for the next one when that is done. */
export interface Crowd extends Disposable {
  /** Calls that ended although the status of their job was not final, by how they ended. One that was shed is made again. */
  readonly failures: ReadonlyMap<string, number>;
  /** Takes a job's number within the jobs, and when the last of its clients got its final status (`performance.now()`). */
  onDone: (job: number, at: number) => void;
}

/** How many clients begin at the same time, each once another one has its first state: beginning is no load test. */
const beginners = 32;

/** A long poll has no first state: so long each of them takes instead, in milliseconds. */
const longPollPace = 15;

/** The delay before a call that was shed is made again, in milliseconds. */
const retryAfter = 1_000;

/** Client n waits for job n modulo the number of different jobs. */
export async function openCrowd(options: CrowdOptions): Promise<Crowd> {
  const { way, port, clients, connections: count, jobs, distinct } = options;
  const connections: Connections = way.connect(port, { connections: count });
  const failures = new Map<string, number>();
  /** How many clients wait for a job that is not done, by its number. */
  const waiting = new Map<number, number>();
  let closed = false;
  const crowd: Crowd = {
    failures,
    onDone() {},
    [Symbol.dispose]() {
      closed = true;
      connections.close();
    },
  };

  function begin(client: number, job: number, wait?: number): Promise<void> {
    waiting.set(job, (waiting.get(job) ?? 0) + 1);
    return ask(client, job, wait);
  }

  /** @returns once the call has a state, or has ended. */
  function ask(client: number, job: number, wait?: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (closed) return promise;
    let isDone = false;
    call(way, connections, client, {
      reqIds: [idOf(jobs.first + job)],
      wait,
      onState(state) {
        resolve();
        if (!isFinal(state)) return;
        isDone = true;
        gotFinal(job);
      },
      onEnd(outcome) {
        resolve();
        if (closed) return;
        if (isDone && outcome === "OK") begin(client, job + distinct);
        else if (outcome === timeOver) ask(client, job);
        else if (outcome === shed)
          setTimeout(ask, retryAfter * (0.8 + 0.4 * Math.random()), client, job, wait);
        else failures.set(outcome, (failures.get(outcome) ?? 0) + 1);
      },
    });
    return promise;
  }

  function gotFinal(job: number): void {
    const left = (waiting.get(job) ?? 0) - 1;
    waiting.set(job, left);
    if (left === 0) crowd.onDone(job, performance.now());
  }

  let next = 0;
  async function beginOneByOne(): Promise<void> {
    for (let client = next++; client < clients; client = next++) {
      // Long polls that began together would end together: the first ones have lasted for a while already.
      const wait = way.isLongPoll ? 1 + (longestWait - 1) * (client / clients) : undefined;
      const begun = begin(client, client % distinct, wait);
      await (way.isLongPoll ? pause(longPollPace) : begun);
    }
  }
  await Promise.all(Array.from({ length: beginners }, beginOneByOne));
  return crowd;
}
