import type { Fleet, Readiness } from "./fleet.ts";
import type { Account } from "./haproxy.ts";
import { type Polled, startPollers, type Tally } from "./pollers.ts";
import type { ProducedJob } from "./producers.ts";

/** What callers of one service saw of an event, and what its balancer did meanwhile. */
export interface Observation {
  readonly service: string;
  /** What each instance said at `/readyz`, beginning with what it said before. */
  readonly said: readonly (readonly Readiness[])[];
  /** For each protocol. */
  readonly tallies: readonly (Tally & { readonly balancer: Account })[];
}

/** Calls a service through its balancer until told to stop. @returns what stops it, told when the writes ceased. */
export async function observe(
  fleet: Fleet & Polled,
  jobs: readonly ProducedJob[],
): Promise<(brokenAt: number) => Promise<Observation>> {
  const saidSince = fleet.follow();
  const before = await fleet.account();
  const pollers = startPollers(fleet, jobs);
  return async (brokenAt) => {
    const tallies = await pollers.stop(brokenAt);
    const after = await fleet.account();
    const balancer = { REST: difference(before.rest, after.rest), gRPC: difference(before.grpc, after.grpc) };
    return {
      service: fleet.name,
      said: saidSince(),
      tallies: tallies.map((tally) => ({ ...tally, balancer: balancer[tally.protocol] })),
    };
  };
}

function difference(before: Account, after: Account): Account {
  return {
    refused: after.refused - before.refused,
    removed: after.removed - before.removed,
    removedLast: after.removedLast - before.removedLast,
  };
}
