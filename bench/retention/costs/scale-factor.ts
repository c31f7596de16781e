import type { CostsBench } from "./bench.ts";
import { measureLives } from "./hot.ts";
import type { Section } from "./section.ts";

/** What vacuum costs, and what it keeps small, by how often it runs. */
export async function measureScaleFactors(
  bench: CostsBench,
  fillfactor: number,
  log: (text: string) => void,
): Promise<Section> {
  const lives = [0.2, 0.1, 0.05, 0.02].map((scaleFactor) => ({
    index: "btree" as const,
    fillfactor,
    snapshot: false,
    scaleFactor,
  }));
  const series = {
    title: "The life of a job, by autovacuum's scale factor",
    text: `As above, fillfactor ${fillfactor}, without a snapshot.`,
    lives,
    name: ({ scaleFactor }: { scaleFactor: number }) => `${scaleFactor}`,
  };
  return await measureLives(bench, series, log);
}
