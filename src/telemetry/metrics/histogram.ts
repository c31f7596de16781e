import type { Registry } from "prom-client";

export interface HistogramOptions {
  readonly name: string;
  readonly help: string;
  /** Upper bounds, ascending. A last bucket for greater values is added. */
  readonly buckets: readonly number[];
}

export interface Observations {
  observe(value: number): void;
}

/**
 * A histogram for frequent events: an observation is an addition to an array, where prom-client's own looks its labels up by a
 * text that it makes of them (`npm run bench:micro`). It has the methods that the registry of prom-client calls.
 */
export class Histogram {
  readonly name: string;
  readonly #help: string;
  readonly #buckets: readonly number[];
  readonly #series: { labels: Readonly<Record<string, string>>; counts: Float64Array; sum: number }[] = [];

  constructor(registry: Registry, { name, help, buckets }: HistogramOptions) {
    this.name = name;
    this.#help = help;
    this.#buckets = buckets;
    registry.registerMetric(this as unknown as Parameters<typeof registry.registerMetric>[0]);
  }

  /** @returns a new series: one call for each set of labels. */
  series(labels: Readonly<Record<string, string>>): Observations {
    const buckets = this.#buckets;
    const series = { labels, counts: new Float64Array(buckets.length + 1), sum: 0 };
    this.#series.push(series);
    return {
      observe(value) {
        let index = 0;
        while (index < buckets.length && value > (buckets[index] as number)) index++;
        (series.counts[index] as number)++;
        series.sum += value;
      },
    };
  }

  /** Called by the registry, which writes the values out. */
  get(): object {
    const values = this.#series.flatMap(({ labels, counts, sum }) => {
      let count = 0;
      const cumulated = Array.from(counts, (bucketCount, index) => {
        count += bucketCount;
        const le = index < this.#buckets.length ? String(this.#buckets[index]) : "+Inf";
        return { metricName: `${this.name}_bucket`, labels: { ...labels, le }, value: count };
      });
      return [
        ...cumulated,
        { metricName: `${this.name}_sum`, labels, value: sum },
        { metricName: `${this.name}_count`, labels, value: count },
      ];
    });
    return { name: this.name, help: this.#help, type: "histogram", values, aggregator: "sum" };
  }
}
