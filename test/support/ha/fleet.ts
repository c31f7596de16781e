import { type Serving, startServing } from "../process.ts";
import { until } from "../until.ts";
import { type Front, startFront } from "./front.ts";
import type { Programs } from "./programs.ts";

/** The readiness of an instance, as at `/readyz`. */
export type Readiness = "ready" | "degraded" | "not ready";

/** Several equal instances of the service behind a balancer that checks `/readyz`. */
export interface Fleet extends Front {
  /** Waits until every instance is ready, reads from its replica if it has one, and is up in HAProxy's statistics. */
  settled(): Promise<void>;
  /** @returns a function that returns each instance's states since the call, and the one before it. */
  followReadiness(): () => Readiness[][];
  /** All that the instances have logged. */
  messages(): string[];
  /** Ends the instances with SIGTERM. @returns the exit code and the standard error of each. */
  stop(): Promise<{ readonly code: number | null; readonly stderr: string }[]>;
}

/** @param env the environment variables of every instance. */
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
      readinessOf(instance).at(-1) === "ready" &&
      (!("DATABASE_READ_URL" in env) || readsFromReplica(instance))
    );
  }

  const running = started.move();
  return {
    ...front,
    async settled() {
      await until("all instances are ready, with their replicas", () => instances.every(isSettled), 30_000);
      await front.allUp();
    },
    followReadiness() {
      const before = instances.map((instance) => readinessOf(instance).length);
      return () => instances.map((instance, index) => readinessOf(instance).slice((before[index] ?? 1) - 1));
    },
    messages: () => instances.flatMap(({ logs }) => logs.map(({ msg }) => msg)),
    async stop() {
      for (const instance of instances) instance.kill("SIGTERM");
      const exits = await Promise.all(instances.map(({ exit }) => exit));
      return exits.map(({ code, stderr }) => ({ code, stderr }));
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Every readiness that an instance has logged: it logs each change. */
function readinessOf({ logs }: Serving): Readiness[] {
  return logs.flatMap(({ msg }) => {
    if (msg === "ready" || msg === "not ready") return [msg];
    return msg.startsWith("degraded: ") ? ["degraded"] : [];
  });
}

function readsFromReplica({ logs }: Serving): boolean {
  return logs.findLast(({ msg }) => msg.startsWith("the replica "))?.msg === "the replica serves";
}
