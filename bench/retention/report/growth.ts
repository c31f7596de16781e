import { type Sample, totalBytes } from "../days/sample.ts";
import { days, keptHours } from "../plan.ts";

/** The largest sizes of each simulated day after the first {@link keptHours}. */
export function dayPeaks(samples: readonly Sample[], sizeOf: (sample: Sample) => number): number[] {
  return Array.from({ length: days }, (_, day) => {
    const from = keptHours + 24 * day;
    const these = samples.filter(({ hour }) => hour > from && hour <= from + 24);
    return Math.max(...these.map(sizeOf));
  });
}

/** The last day's largest size, of that of the day before. 1 when it has stopped growing. */
export function growth(samples: readonly Sample[], sizeOf: (sample: Sample) => number): number {
  const [previous = Number.NaN, last = Number.NaN] = dayPeaks(samples, sizeOf).slice(-2);
  return last / previous;
}

/** The table, each of its indexes, and all of it. */
export function relations(
  samples: readonly Sample[],
): { name: string; sizeOf: (sample: Sample) => number }[] {
  const indexes = Object.keys(samples.at(-1)?.indexes ?? {}).toSorted();
  return [
    { name: "memory_job", sizeOf: ({ table }) => table },
    ...indexes.map((name) => ({ name, sizeOf: (sample: Sample) => sample.indexes[name] ?? Number.NaN })),
    { name: "all of it", sizeOf: totalBytes },
  ];
}

/** The share of the updates between two samples that were HOT, from 0 to 1. */
export function hotShare(samples: readonly Sample[], from: number, until: number): number {
  const at = (hour: number) => samples.find((each) => each.hour === hour);
  const [first, last] = [at(from), at(until)];
  if (first === undefined || last === undefined) return Number.NaN;
  return (last.hotUpdates - first.hotUpdates) / (last.updates - first.updates);
}
