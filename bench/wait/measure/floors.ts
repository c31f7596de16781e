import { once } from "node:events";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { freePort } from "../../../src/store/embedded/embedded.ts";
import { startChild } from "../../children.ts";
import { idOf } from "../../rows.ts";
import type { Bench } from "../bench.ts";
import { openCrowd } from "../clients/crowd.ts";
import { openIdle } from "../clients/idle.ts";
import { eventsOver } from "../clients/ways/ways.ts";
import { plan } from "../plan.ts";
import { openHeap } from "./heap.ts";
import { growthEach, type Memory, readMemory } from "./memory.ts";
import { startService } from "./service.ts";

/** The memory of what the service's code is not the cause of. */
export interface FloorResult {
  readonly name: string;
  /** Of one connection, or of one stream. */
  readonly memory: Memory;
}

/** A process whose memory is measured. */
type Measured = Parameters<typeof readMemory>[0] & { readonly port: number };

/** The service's idle connections, then what node:http and node:http2 take for as many clients. */
export async function measureFloors(bench: Bench): Promise<FloorResult[]> {
  const { clients } = plan;
  const idle = async ({ port }: Measured, count: number) =>
    await openIdle(port, count, `/get_status/${idOf(0)}`);
  const streams = (http: 1 | 2) => async (measured: Measured, count: number) => {
    const jobs = { first: 0, count: 2 * clients, createdAt: 0 };
    const { connections } = plan;
    const way = eventsOver[http];
    return await openCrowd({
      way,
      port: measured.port,
      clients: count,
      connections,
      jobs,
      distinct: clients,
    });
  };
  await using service = await startService(bench.table, bench.cpus.server);
  return [
    { name: "this service, idle connection, HTTP/1.1", memory: await growth(service, idle) },
    { name: "bare node:http, idle connection", memory: await onBare("1", idle) },
    { name: "bare node:http, open answer", memory: await onBare("1", streams(1)) },
    { name: "bare node:http2, open stream", memory: await onBare("2", streams(2)) },
  ];

  async function onBare(http: "1" | "2", open: Parameters<typeof growth>[1]): Promise<Memory> {
    const inspector = await freePort();
    const program = join(import.meta.dirname, "floor-server.ts");
    const command = [process.execPath, `--inspect=${inspector}`, program, http];
    await using child = startChild("the bare server", bench.cpus.server, command, {});
    const [text] = await Promise.race([once(child.process.stdout as Readable, "data"), child.failed]);
    using heap = await openHeap(inspector);
    return await growth({ pid: child.pid, heap, port: Number(`${text}`) }, open);
  }
}

/** @param open opens this number of what is measured. */
async function growth(
  measured: Measured,
  open: (measured: Measured, count: number) => Promise<Disposable>,
): Promise<Memory> {
  await opened(plan.warmUp.clients, () => Promise.resolve());
  const before = await readMemory(measured);
  return await opened(plan.clients, async () => growthEach(before, await readMemory(measured), plan.clients));

  async function opened<T>(count: number, read: () => Promise<T>): Promise<T> {
    using _ = await open(measured, count);
    await pause(plan.settle * 1000);
    return await read();
  }
}
