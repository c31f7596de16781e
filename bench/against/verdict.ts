import { type Spread, spread } from "../report/spread.ts";

/** One figure of both sides. Less is better. */
export interface Compared {
  readonly a: Spread;
  readonly b: Spread;
  /** A / B within each round. */
  readonly ratio: Spread;
  readonly verdict: string;
}

/** The distance of a median ratio from 1 up to which two sides count as equal. */
const tolerance = 0.03;

/** @param a the figure of each round; `b` those of the other side, in the same order. */
export function compareFigures(a: readonly number[], b: readonly number[]): Compared {
  const ratio = spread(a.map((value, round) => value / (b[round] ?? Number.NaN)));
  return { a: spread(a), b: spread(b), ratio, verdict: verdict(ratio) };
}

/**
 * A difference counts when all rounds agree. With seven rounds, chance alone makes them agree in one of 64 figures. The
 * quartiles would agree in one of eight, and a report has twelve figures.
 */
function verdict({ median, min, max }: Spread): string {
  const difference = Math.abs(median - 1);
  if (difference <= tolerance) return `within ${tolerance * 100} %`;
  if (min <= 1 && max >= 1) return "inside the spread";
  return `${median > 1 ? "slower" : "faster"} by ${(difference * 100).toFixed(1)} %`;
}
