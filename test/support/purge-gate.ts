import pg from "pg";
import { expect } from "vitest";
import type { TestDatabase } from "./database.ts";

/** Stops purges of a database before a row is deleted, until it is disposed of. */
export interface PurgeGate extends AsyncDisposable {
  /** Waits until a purge has been stopped. @returns the process id of its backend. */
  reached(): Promise<number>;
}

/** The advisory lock that stops purges waits for. It is one of the database of the test. */
const gate = "pg_advisory_xact_lock_shared(42, 1)";

/** Closes the gate: a row that is to be deleted waits for a lock that this takes. */
export async function stopAtDelete(database: TestDatabase): Promise<PurgeGate> {
  await database.pool.query(`
    create or replace function at_gate() returns trigger language plpgsql as $$
    begin perform ${gate}; return old; end $$;
    create or replace trigger at_gate before delete on memory_job for each row execute function at_gate()`);
  return close(database);
}

/** Stops a purge while it chooses rows: its snapshot is taken, and no row is locked. The shipped function is changed for that. */
export async function stopAtChoice(database: TestDatabase): Promise<PurgeGate> {
  const { rows } = await database.pool.query<{ definition: string }>(
    "select pg_get_functiondef('memory_job_purge'::regproc) as definition",
  );
  const { definition = "" } = rows[0] ?? {};
  const stopping = definition.replaceAll("order by created_at", "and at_choice() order by created_at");
  expect(stopping).not.toBe(definition);
  await database.pool.query(`
    create function at_choice() returns boolean language plpgsql as $$
    begin perform ${gate}; return true; end $$;
    ${stopping}`);
  return close(database);
}

async function close({ url, pool }: TestDatabase): Promise<PurgeGate> {
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query("select pg_advisory_lock(42, 1)");
  let opened: Promise<void> | undefined;
  return {
    async reached() {
      let pid: number | undefined;
      const findWaiting = async () => {
        const { rows } = await pool.query<{ pid: number }>(`
          select pid from pg_locks where locktype = 'advisory' and classid = 42 and not granted
            and database = (select oid from pg_database where datname = current_database())`);
        pid = rows[0]?.pid;
        return pid;
      };
      await expect.poll(findWaiting, { interval: 5 }).toBeDefined();
      return pid as number;
    },
    [Symbol.asyncDispose]() {
      opened ??= holder.end();
      return opened;
    },
  };
}
