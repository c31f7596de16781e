import { setTimeout as pause } from "node:timers/promises";
import { readMetric } from "./metrics.ts";

const interval = 100;
const timeout = 60_000;

/** Waits until a service holds this number of calls. @throws Error when that takes too long. */
export async function untilHeld(port: number, count: number): Promise<void> {
  const deadline = performance.now() + timeout;
  for (;;) {
    const held = await readMetric(port, "rpc_server_held_calls");
    if (held === count) return;
    if (performance.now() > deadline) throw new Error(`${held} calls are held, and not ${count}`);
    await pause(interval);
  }
}
