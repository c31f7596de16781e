import { type Counts, startHaProxy } from "./haproxy.ts";
import { stablePort } from "./ports.ts";
import type { Programs } from "./programs.ts";

/** The balancer's URLs for each kind of calls. */
export interface Urls {
  readonly rest: string;
  readonly grpc: string;
}

/** An HAProxy that passes calls to the instances of a service that are ready by `GET /readyz`. */
export interface Front extends AsyncDisposable {
  readonly urls: Urls;
  /** Waits until HAProxy has checked every instance, for both kinds of calls, and all are up. */
  allUp(): Promise<void>;
  /** HAProxy's counts so far, for each kind of calls. */
  counts(): Promise<{ readonly [kind in keyof Urls]: Counts }>;
}

/** As the documentation recommends. */
const checks = "inter 200ms fall 1 rise 1";

export async function startFront(
  programs: Programs,
  instances: readonly { readonly name: string; readonly port: number }[],
): Promise<Front> {
  const [rest, grpc] = [await stablePort(), await stablePort()];
  const servers = instances.map(({ name, port }) => ({ name, port, checkPort: port }));
  const shared = { mode: "http", check: "GET /readyz", servers } as const;
  const haProxy = await startHaProxy(programs, await stablePort(), [
    { name: "rest", port: rest, serverOptions: checks, ...shared },
    { name: "grpc", port: grpc, serverOptions: `${checks} proto h2 check-proto h1`, ...shared },
  ]);
  const names = instances.map(({ name }) => name);
  return {
    urls: { rest: `http://127.0.0.1:${rest}`, grpc: `http://127.0.0.1:${grpc}` },
    async allUp() {
      await haProxy.leadsTo("rest", names);
      await haProxy.leadsTo("grpc", names);
    },
    counts: async () => ({ rest: await haProxy.counts("rest"), grpc: await haProxy.counts("grpc") }),
    [Symbol.asyncDispose]: () => haProxy[Symbol.asyncDispose](),
  };
}
