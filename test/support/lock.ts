import pg from "pg";
import { expect } from "vitest";
import type { TestDatabase } from "./database.ts";

/** An exclusive lock on the table: every read waits until it is disposed of. */
export interface TableLock extends AsyncDisposable {
  /** Waits until `count` statements wait for the lock. @returns the process ids of their backends. */
  blocks(count: number): Promise<number[]>;
}

export async function lockTable({ url, pool }: TestDatabase): Promise<TableLock> {
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query("begin; lock table memory_job in access exclusive mode");
  let released: Promise<void> | undefined;
  return {
    async blocks(count) {
      let pids: number[] = [];
      await expect
        .poll(
          async () => {
            const { rows } = await pool.query<{ pid: number }>(
              // Databases that are copies of one template have tables of the same oid.
              `select pid from pg_locks where not granted and relation = 'memory_job'::regclass
                and database = (select oid from pg_database where datname = current_database())`,
            );
            pids = rows.map((row) => row.pid);
            return pids.length;
          },
          { interval: 5, timeout: 10_000 },
        )
        .toBe(count);
      return pids;
    },
    [Symbol.asyncDispose]() {
      released ??= holder.end();
      return released;
    },
  };
}
