import type { PhaseResult } from "../load/phase.ts";
import { number } from "./cells.ts";
import { spread } from "./spread.ts";

/** What other programs may take, in CPUs, before the figures are in doubt. */
const tolerated = 0.1;

/** @returns what to tell the reader when other programs disturbed these windows. */
export function disturbance(results: readonly PhaseResult[]): string | undefined {
  const others = spread(results.map(taken));
  if (others.max <= tolerated) return undefined;
  return (
    `The machine was not ours alone: other programs took ${number(others.median * 100, 0)} % of a CPU, ` +
    `at times ${number(others.max * 100, 0)} %. Measure again.`
  );
}

/** By other programs, in CPUs. */
export function taken({ cpu, seconds }: PhaseResult): number {
  return cpu.others / seconds;
}
