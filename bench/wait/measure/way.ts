import { setTimeout as pause } from "node:timers/promises";
import { rowsInOrder } from "../../load/order.ts";
import type { Bench } from "../bench.ts";
import { commitChanges } from "../changes.ts";
import { type Crowd, openCrowd } from "../clients/crowd.ts";
import type { Way } from "../clients/ways/ways.ts";
import { insertJobs, type Jobs } from "../jobs.ts";
import { type Age, plan } from "../plan.ts";
import { untilHeld } from "./held.ts";
import { growthEach, type Memory, readMemory } from "./memory.ts";
import { type Service, startService } from "./service.ts";
import { measureQuiet, type QuietWindow } from "./window.ts";

/** What one way to wait costs, and how soon it tells. */
export interface WayResult {
  readonly way: string;
  readonly protocol: Way["protocol"];
  readonly distinct: number;
  /** Of one call that waits. */
  readonly memory: Memory;
  readonly quiet: readonly { readonly age: string; readonly window: QuietWindow }[];
  /** Of each change, from its commit until the last of its clients got it, in milliseconds. */
  readonly latencies: readonly number[];
}

/** @param ages in which costs are measured; memory and latencies are measured in the first one. */
export async function measureWay(
  bench: Bench,
  way: Way,
  distinct: number,
  ages: readonly Age[],
): Promise<WayResult> {
  await using service = await startService(bench.table, bench.cpus.server);
  return await Promise.race([measureStarted(), service.failed]);

  async function measureStarted(): Promise<WayResult> {
    await warmUp(bench, service, way);
    const before = await readMemory(service);
    const quiet: { age: string; window: QuietWindow }[] = [];
    let memory: Memory | undefined;
    let latencies: number[] = [];
    for (const { name, age, seconds } of ages) {
      await withCrowd(bench, service, { way, distinct, age, clients: plan.clients }, async (crowd, jobs) => {
        quiet.push({ age: name, window: await measureQuiet(service, bench.database, seconds) });
        if (memory !== undefined) return;
        memory = growthEach(before, await readMemory(service), plan.clients);
        latencies = await commitChanges(crowd, {
          url: bench.table.url,
          jobs,
          numbers: shuffled(distinct).slice(0, plan.changes.count),
          rate: plan.changes.rate,
        });
      });
    }
    return { way: way.name, protocol: way.protocol, distinct, memory: memory as Memory, quiet, latencies };
  }
}

/** V8 compiles what a call goes through, so that this does not count as the memory of calls. */
async function warmUp(bench: Bench, service: Service, way: Way): Promise<void> {
  const { clients } = plan.warmUp;
  await withCrowd(bench, service, { way, distinct: clients, age: 0, clients }, () => Promise.resolve());
}

interface CrowdSize {
  readonly way: Way;
  readonly clients: number;
  readonly distinct: number;
  readonly age: number;
}

/** Does something while a crowd waits. @throws Error when one of its calls has failed. */
export async function withCrowd<T>(
  { admin, takeRows }: Bench,
  { port }: Service,
  { way, clients, distinct, age }: CrowdSize,
  work: (crowd: Crowd, jobs: Jobs) => Promise<T>,
): Promise<T> {
  const count = 2 * distinct;
  const jobs = await insertJobs(admin, { first: takeRows(count), count, age });
  const { connections } = plan;
  const result = await whileOpen();
  await untilHeld(port, 0);
  return result;

  async function whileOpen(): Promise<T> {
    using crowd = await openCrowd({ way, port, clients, connections, jobs, distinct });
    await untilHeld(port, clients);
    await pause(plan.settle * 1000);
    const done = await work(crowd, jobs);
    if (crowd.failures.size > 0) {
      throw new Error(`${way.name}: calls ended with ${JSON.stringify([...crowd.failures])}`);
    }
    return done;
  }
}

/** The numbers from 0 to below `count`, in an order that jumps. */
function shuffled(count: number): number[] {
  const next = rowsInOrder(count, 0);
  return Array.from({ length: count }, next);
}
