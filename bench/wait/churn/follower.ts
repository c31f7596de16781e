import { setTimeout as pause } from "node:timers/promises";
import { call } from "../clients/call.ts";
import type { Connections, Exchange } from "../clients/connections.ts";
import { isFinal } from "../clients/states.ts";
import { timeOver } from "../clients/ways/reader.ts";
import type { Way } from "../clients/ways/ways.ts";
import { type Fate, randomFate, suffer } from "./fates.ts";
import { type ChurnJob, hasBeen } from "./jobs.ts";
import { createOrder, type Order } from "./order.ts";

/** What all followers have seen. */
export interface Seen {
  readonly failures: string[];
  readonly outcomes: Map<string, number>;
  readonly fates: Map<Fate, number>;
  states: number;
  finals: number;
}

export interface FollowerOptions {
  readonly client: number;
  readonly way: Way;
  readonly connections: Connections;
  readonly seen: Seen;
  /** @returns other jobs each time; none when there are no more changes. */
  jobs(): readonly ChurnJob[];
}

/** The longest time before a client comes back, in milliseconds. */
const comesBackWithin = 500;

/** A client that waits for jobs until all of them are final, through whatever happens to it, and then for others. */
export async function follow({ client, way, connections, seen, jobs }: FollowerOptions): Promise<void> {
  for (let next = jobs(); next.length > 0; next = jobs()) {
    const wanted = new Map(next.map((job) => [job.reqId, job]));
    const order = createOrder();
    while (wanted.size > 0) {
      const fate = randomFate();
      const outcome = await once(wanted, order, fate);
      count(seen.outcomes, outcome);
      count(seen.fates, fate);
      if (fate === "leaves for good") break;
      if (outcome !== "OK" && outcome !== timeOver) await pause(Math.random() * comesBackWithin);
    }
  }

  /** Makes one call for what is not final yet. @returns how it ended. */
  function once(wanted: Map<string, ChurnJob>, order: Order, fate: Fate): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    const ended = new AbortController();
    const reqIds = [...wanted.keys()];
    const stream = order.stream(reqIds);
    const exchange: Exchange = call(way, connections, client, {
      reqIds,
      onState(state) {
        seen.states++;
        const job = wanted.get(state.reqId);
        fail(stream.next(state));
        if (!isFinal(state)) return;
        if (job !== undefined && !hasBeen(job, state)) fail(`${state.status} of ${state.reqId} never was`);
        if (wanted.delete(state.reqId)) seen.finals++;
      },
      onEnd(outcome) {
        if (outcome === "OK") fail(stream.end());
        ended.abort();
        resolve(outcome);
      },
    });
    void suffer(fate, exchange, ended.signal);
    return promise;
  }

  function fail(problem: string | undefined): void {
    if (problem !== undefined) seen.failures.push(`${way.name}, client ${client}: ${problem}`);
  }
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
