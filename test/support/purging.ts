import { type Kysely, sql } from "kysely";
import pg from "pg";
import { expect } from "vitest";
import type { Tables } from "../../src/store/schema/tables.ts";
import type { TestDatabase } from "./database.ts";

/** Inserts successful jobs of this age. @param hours of the first; each next one is a second older. */
export async function insertAged(db: Kysely<Tables>, count: number, hours: number): Promise<void> {
  await sql`
    insert into memory_job (req_id, status, created_at)
    select gen_random_uuid(), 'success', date_trunc('second', now()) - make_interval(hours => ${hours}, secs => second)
    from generate_series(1, ${count}) as second`.execute(db);
}

export async function countJobs({ pool }: TestDatabase): Promise<number> {
  const { rows } = await pool.query<{ count: number }>("select count(*)::integer as count from memory_job");
  return rows[0]?.count ?? 0;
}

/** What every deletion of jobs waits for until it is disposed of. */
export interface HeldDeletions extends AsyncDisposable {
  /** Waits until one does. @returns the process id of its backend. */
  waits(): Promise<number>;
}

/** Of no other lock. */
const key = 4_242;

export async function holdDeletions({ url, pool }: TestDatabase): Promise<HeldDeletions> {
  await pool.query(`
    create function await_test() returns trigger language plpgsql as $$
    begin
      perform pg_advisory_xact_lock_shared(${key});
      return null;
    end $$;
    create trigger await_test before delete on memory_job execute function await_test()`);
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query(`select pg_advisory_lock(${key})`);
  let released: Promise<void> | undefined;
  return {
    async waits() {
      let pid = 0;
      await expect
        .poll(async () => {
          const { rows } = await pool.query<{ pid: number }>(
            `select pid from pg_locks where locktype = 'advisory' and objid = ${key} and not granted
              and database = (select oid from pg_database where datname = current_database())`,
          );
          pid = rows[0]?.pid ?? 0;
          return rows.length;
        })
        .toBe(1);
      return pid;
    },
    [Symbol.asyncDispose]() {
      released ??= holder.end();
      return released;
    },
  };
}

/** Another purger, in the middle of a batch, until it is disposed of. */
export async function startOtherPurger({ url }: TestDatabase): Promise<AsyncDisposable> {
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await other.query("begin; select * from memory_job_purge()");
  return { [Symbol.asyncDispose]: () => other.end() };
}
