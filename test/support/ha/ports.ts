import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Ports of 127.0.0.1 for servers that are stopped and started again. They are below the kernel's range for outgoing
 * connections (from 32768 on Linux), which might take the port of a server that is down.
 */
const lowest = 10_000;
const highest = 32_000;

const given = new Set<number>();

/** @returns a port that is free, and that was not returned before. */
export async function stablePort(): Promise<number> {
  for (;;) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest));
    if (given.has(port)) continue;
    given.add(port);
    const probe = createServer().listen(port, "127.0.0.1");
    const isFree = await once(probe, "listening").then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    probe.close();
    await once(probe, "close");
    return port;
  }
}
