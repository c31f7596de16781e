import { setTimeout as pause } from "node:timers/promises";
import type { Exchange } from "../clients/connections.ts";

/** What happens to a call on the client's side. */
export type Fate = "stays" | "leaves" | "leaves for good" | "stalls" | "stalls for long" | "is reset";

/** How often each happens, as a share of the calls. The rest stay. */
const shares: readonly (readonly [Fate, number])[] = [
  ["leaves", 0.12],
  ["leaves for good", 0.05],
  ["stalls", 0.1],
  ["stalls for long", 0.004],
  ["is reset", 0.002],
];

/** In milliseconds. The long one is longer than the service waits for a client that reads nothing. */
const stalls = { stalls: 1_500, "stalls for long": 40_000 } as const;

/** The longest time until it happens, in milliseconds. */
const within = 2_000;

export function randomFate(): Fate {
  let chance = Math.random();
  for (const [fate, share] of shares) {
    if (chance < share) return fate;
    chance -= share;
  }
  return "stays";
}

/** Lets it happen to a call after a while, unless the call has ended. */
export async function suffer(fate: Fate, exchange: Exchange, ended: AbortSignal): Promise<void> {
  if (fate === "stays") return;
  try {
    await pause(Math.random() * within, undefined, { signal: ended });
    if (fate === "leaves" || fate === "leaves for good") return exchange.cancel();
    if (fate === "is reset") return exchange.resetConnection();
    exchange.pause();
    await pause(stalls[fate], undefined, { signal: ended });
    exchange.resume();
  } catch {
    // The call has ended.
  }
}
