import { setTimeout as pause } from "node:timers/promises";
import type pg from "pg";

const interval = 250;

/** Notes whether the table is being vacuumed. @returns a function that ends this, and has the share of the time in which it was. */
export function watchVacuum(admin: pg.Client): () => Promise<number> {
  const ending = new AbortController();
  const { signal } = ending;
  const watching = watch();
  // A window that fails does not wait for it.
  watching.catch(() => {});
  return async () => {
    ending.abort();
    return await watching;
  };

  async function watch(): Promise<number> {
    let looks = 0;
    let seen = 0;
    while (!signal.aborted) {
      const { rowCount } = await admin.query(
        "select from pg_stat_progress_vacuum where relid = 'memory_job'::regclass",
      );
      looks++;
      if (rowCount === 1) seen++;
      await pause(interval, undefined, { signal }).catch(() => {});
    }
    return seen / looks;
  }
}
