import { type Serving, startServing } from "../process.ts";
import { until } from "../until.ts";
import { type Front, startFront } from "./front.ts";
import type { Programs } from "./programs.ts";

/** What an instance says of itself at `/readyz`. */
export type Readiness = "ready" | "degraded" | "not ready";

/** Several instances of the service, alike, behind a balancer that obeys `/readyz`. */
export interface Fleet extends Front {
  /** Waits until every instance is ready, reads from its replica if it has one, and is up by HAProxy's own account. */
  settled(): Promise<void>;
  /** @returns what tells, for each instance, what it has said since then, beginning with what it said before. */
  follow(): () => Readiness[][];
  /** Ends the instances with SIGTERM. @returns how each ended, with what it wrote to standard error. */
  stop(): Promise<{ readonly code: number | null; readonly stderr: string }[]>;
}

/** @param env of every instance. */
export async function startFleet(
  programs: Programs,
  env: Parameters<typeof startServing>[0],
  size: number,
): Promise<Fleet> {
  await using started = new AsyncDisposableStack();
  const instances: Serving[] = [];
  for (let number = 0; number < size; number++) instances.push(started.use(await startServing(env)));
  const servers = instances.map(({ port }, index) => ({ name: `instance${index + 1}`, port }));
  const front = started.use(await startFront(programs, servers));

  function isSettled(instance: Serving): boolean {
    return (
      saidBy(instance).at(-1) === "ready" && (!("DATABASE_READ_URL" in env) || readsFromReplica(instance))
    );
  }

  const running = started.move();
  return {
    ...front,
    async settled() {
      await until("all instances are ready, with their replicas", () => instances.every(isSettled), 30_000);
      await front.allUp();
    },
    follow() {
      const before = instances.map((instance) => saidBy(instance).length);
      return () => instances.map((instance, index) => saidBy(instance).slice((before[index] ?? 1) - 1));
    },
    async stop() {
      for (const instance of instances) instance.kill("SIGTERM");
      const exits = await Promise.all(instances.map(({ exit }) => exit));
      return exits.map(({ code, stderr }) => ({ code, stderr }));
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** From its log, where it tells every change. */
function saidBy({ logs }: Serving): Readiness[] {
  return logs.flatMap(({ msg }) => {
    if (msg === "ready" || msg === "not ready") return [msg];
    return msg.startsWith("degraded: ") ? ["degraded"] : [];
  });
}

function readsFromReplica({ logs }: Serving): boolean {
  return logs.findLast(({ msg }) => msg.startsWith("the replica "))?.msg === "the replica serves";
}
