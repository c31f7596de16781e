import type { Fleet, Readiness } from "./fleet.ts";
import type { Counts } from "./haproxy.ts";
import { type Polled, startPollers, type Tally } from "./pollers.ts";
import type { ProducedJob } from "./producers.ts";

/** The calls, the readiness and the balancer's counts of one service during an event. */
export interface Observation {
  readonly service: string;
  /** The states that each instance reported at `/readyz`, in order, the first one from before the event. */
  readonly readiness: readonly (readonly Readiness[])[];
  /** For each protocol. */
  readonly tallies: readonly (Tally & { readonly balancer: Counts })[];
}

/** Calls a service through its balancer. @returns a function that ends the calls, and takes the time of the last write. */
export async function observe(
  fleet: Fleet & Polled,
  jobs: readonly ProducedJob[],
): Promise<(brokenAt: number) => Promise<Observation>> {
  const readinessSince = fleet.followReadiness();
  const before = await fleet.counts();
  const pollers = startPollers(fleet, jobs);
  return async (brokenAt) => {
    const tallies = await pollers.stop(brokenAt);
    const after = await fleet.counts();
    const balancer = { REST: difference(before.rest, after.rest), gRPC: difference(before.grpc, after.grpc) };
    return {
      service: fleet.name,
      readiness: readinessSince(),
      tallies: tallies.map((tally) => ({ ...tally, balancer: balancer[tally.protocol] })),
    };
  };
}

function difference(before: Counts, after: Counts): Counts {
  return {
    refused: after.refused - before.refused,
    removed: after.removed - before.removed,
    removedLast: after.removedLast - before.removedLast,
  };
}
