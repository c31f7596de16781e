import { freePort } from "../../../src/store/embedded/embedded.ts";
import { thisCheckout } from "../../checkout.ts";
import type { Table } from "../../database.ts";
import { startServer } from "../../server.ts";
import { plan } from "../plan.ts";
import { type Heap, openHeap } from "./heap.ts";

/** The service, as `npm start` starts it, with room for the calls of the benchmark. */
export interface Service extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  readonly heap: Heap;
  readonly failed: Promise<never>;
}

/** Held calls take at most 80 % of a connection's streams. */
const streams = Math.ceil(plan.clients / plan.connections / 0.8);

/** @param cpus as taskset writes them. */
export async function startService(table: Table, cpus: string): Promise<Service> {
  await using started = new AsyncDisposableStack();
  const inspector = await freePort();
  const server = started.use(
    await startServer(
      {
        name: "this service",
        protocol: "rest",
        checkout: thisCheckout,
        command: thisCheckout.serve,
        cwd: thisCheckout.folder,
        env: {
          MAX_CONCURRENT_STREAMS: `${streams}`,
          // A client that goes on with its next job begins that call before its last one has been released.
          MAX_WAITING: `${2 * plan.clients}`,
          NODE_OPTIONS: `--inspect=127.0.0.1:${inspector}`,
        },
      },
      table,
      cpus,
    ),
  );
  const heap = started.use(await openHeap(inspector));
  const running = started.move();
  const { pid, port, failed } = server;
  return { pid, port, failed, heap, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
