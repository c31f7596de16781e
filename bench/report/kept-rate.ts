import type { PhaseResult } from "../load/phase.ts";
import { perSecond } from "./figures.ts";
import { spread } from "./spread.ts";

/** The share of the calls scheduled at random in a window that may be missing from its answers. */
const tolerated = 0.1;

/** @returns whether a server answered as many calls as were scheduled. Beyond its rate, latencies are those of a growing queue. */
export function keepsRate(windows: readonly PhaseResult[], rate: number): boolean {
  return spread(windows.map(perSecond)).median >= (1 - tolerated) * rate;
}
