import pg from "pg";
import { expect } from "vitest";
import type { TestDatabase } from "./database.ts";

/** An exclusive lock on the table: every read waits until it is disposed of. */
export interface TableLock extends AsyncDisposable {
  /** Waits until `count` statements wait for the lock. @returns the process ids of their backends. */
  blocks(count: number): Promise<number[]>;
  /** The same for statements of calls alone: where the lock is held for long, the breaker's probes wait for it, too. */
  blocksCalls(count: number): Promise<number[]>;
}

export async function lockTable({ url, pool }: TestDatabase): Promise<TableLock> {
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query("begin; lock table memory_job in access exclusive mode");
  let released: Promise<void> | undefined;

  async function untilBlocked(count: number, condition: string): Promise<number[]> {
    let pids: number[] = [];
    await expect
      .poll(
        async () => {
          const { rows } = await pool.query<{ pid: number }>(
            // Databases that are copies of one template have tables of the same oid.
            `select pid from pg_locks join pg_stat_activity using (pid)
              where not granted and relation = 'memory_job'::regclass and datname = current_database() and ${condition}`,
          );
          pids = rows.map((row) => row.pid);
          return pids.length;
        },
        { interval: 5, timeout: 10_000 },
      )
      .toBe(count);
    return pids;
  }

  return {
    blocks: (count) => untilBlocked(count, "true"),
    // A probe asks for no row.
    blocksCalls: (count) => untilBlocked(count, "query !~ 'and false$'"),
    [Symbol.asyncDispose]() {
      released ??= holder.end();
      return released;
    },
  };
}
