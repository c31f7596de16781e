import type { PhaseResult } from "../load/phase.ts";
import { taken } from "../report/disturbance.ts";

/** Windows of A and B at one load. Two with the same index were measured one right after the other. */
export interface PairedWindows {
  readonly A: readonly PhaseResult[];
  readonly B: readonly PhaseResult[];
}

/**
 * Keeps the pairs during which other programs took least CPU: one with an even index, and one with an odd index, where the
 * other side was measured first.
 */
export function calmest({ A, B }: PairedWindows): PairedWindows {
  const pairs = A.flatMap((a, index) => {
    const b = B[index];
    return b === undefined ? [] : [{ a, b, order: index % 2, taken: Math.max(taken(a), taken(b)) }];
  });
  const kept = [0, 1].flatMap((order) =>
    pairs
      .filter((pair) => pair.order === order)
      .toSorted((one, other) => one.taken - other.taken)
      .slice(0, 1),
  );
  return { A: kept.map(({ a }) => a), B: kept.map(({ b }) => b) };
}
