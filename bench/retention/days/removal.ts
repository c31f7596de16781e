import pg from "pg";
import { openRetention } from "../../../src/store/jobs/retention.ts";
import { keptHours, realTime } from "../plan.ts";
import type { SimulatedClock } from "./clock.ts";

/** A way to delete what is too old. */
interface Removal extends AsyncDisposable {
  /**
   * Runs in each step of the simulated days, beside the producers.
   *
   * @param seconds the simulated time.
   * @returns the number of rows that were deleted.
   */
  run(seconds: number): Promise<number>;
}

export type RemovalName = "purge" | "one DELETE a day" | "nothing is deleted";

type Open = (url: string, clock: SimulatedClock) => Promise<Removal>;

/** Rows of a batch: the default. */
const [batch] = realTime.batches;

export const removals: Readonly<Record<RemovalName, Open>> = {
  purge: openPurge,
  "one DELETE a day": openDailyDelete,
  "nothing is deleted": () =>
    Promise.resolve({ run: () => Promise.resolve(0), [Symbol.asyncDispose]: () => Promise.resolve() }),
};

/** The service's own, with its pauses. */
function openPurge(url: string, clock: SimulatedClock): Promise<Removal> {
  const retention = openRetention({ url, connectTimeout: 10_000, onLost: () => {} });
  const { signal } = new AbortController();
  return Promise.resolve({
    async run(seconds) {
      const olderThan = clock.olderThan(seconds);
      const { outcome, purged } = await retention.purge({ olderThan, batch, signal });
      if (outcome !== "done") throw new Error(`a purge ended as ${outcome}`);
      return purged;
    },
    [Symbol.asyncDispose]: () => retention[Symbol.asyncDispose](),
  });
}

const day = 24 * 3600;

/** What is often written instead: every night one statement. */
async function openDailyDelete(url: string, clock: SimulatedClock): Promise<Removal> {
  const client = new pg.Client(url);
  await client.connect();
  return {
    async run(seconds) {
      if (seconds === 0 || seconds % day !== 0) return 0;
      const cutoff = clock.epoch + seconds - keptHours * 3600;
      const { rowCount } = await client.query(
        "delete from memory_job where created_at < to_timestamp($1::float8)",
        [cutoff],
      );
      return rowCount ?? 0;
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}
