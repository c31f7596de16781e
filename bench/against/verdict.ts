import { type Spread, spread } from "../report/spread.ts";

/** One figure of both sides. The less, the better. */
export interface Compared {
  readonly a: Spread;
  readonly b: Spread;
  /** Of A to B, taken within each round. */
  readonly ratio: Spread;
  readonly verdict: string;
}

/** By how much a median may differ from 1 without being called a difference. */
const tolerance = 0.03;

/** @param a what each round gave, and `b` the same of the other side, in the same order. */
export function compareFigures(a: readonly number[], b: readonly number[]): Compared {
  const ratio = spread(a.map((value, round) => value / (b[round] ?? Number.NaN)));
  return { a: spread(a), b: spread(b), ratio, verdict: verdict(ratio) };
}

/**
 * A difference counts when every round has seen it: with seven rounds, chance alone makes all of them agree in one of
 * 64 figures. The quartiles would do so in one of eight, and a report has twelve figures.
 */
function verdict({ median, min, max }: Spread): string {
  const difference = Math.abs(median - 1);
  if (difference <= tolerance) return `within ${tolerance * 100} %`;
  if (min <= 1 && max >= 1) return "inside the spread";
  return `${median > 1 ? "slower" : "faster"} by ${(difference * 100).toFixed(1)} %`;
}
