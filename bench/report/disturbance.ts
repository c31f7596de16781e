import type { PhaseResult } from "../load/phase.ts";
import { number } from "./cells.ts";
import { spread } from "./spread.ts";

/** The CPU use of other programs, in CPUs, above which the report warns. */
const tolerated = 0.1;

/** @returns a warning when other programs took too much CPU in these windows. */
export function disturbance(results: readonly PhaseResult[]): string | undefined {
  const others = spread(results.map(taken));
  if (others.max <= tolerated) return undefined;
  return (
    `Other programs used the machine: ${number(others.median * 100, 0)} % of a CPU in the median, ` +
    `${number(others.max * 100, 0)} % at most. Measure again.`
  );
}

/** The CPU use of other programs, in CPUs. */
export function taken({ cpu, seconds }: PhaseResult): number {
  return cpu.others / seconds;
}
