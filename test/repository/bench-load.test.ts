import { expect, test } from "vitest";
import { exponentialGaps } from "../../bench/load/arrivals.ts";

test("the gaps between calls are exponentially distributed, and the same in each phase", () => {
  const mean = 0.2;
  const [nextGap, sameAgain] = [exponentialGaps(mean), exponentialGaps(mean)];
  const gaps = Array.from({ length: 100_000 }, nextGap);
  expect(gaps.slice(0, 100)).toEqual(Array.from({ length: 100 }, sameAgain));
  expect(gaps.every((gap) => gap >= 0)).toBe(true);
  expect(average(gaps) / mean).toBeCloseTo(1, 1);
  // The probability that a gap is longer than t is e^(-t / mean).
  for (const times of [0.1, 1, 3]) {
    expect(average(gaps.map((gap) => (gap > times * mean ? 1 : 0)))).toBeCloseTo(Math.exp(-times), 2);
  }
});

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
