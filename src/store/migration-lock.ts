import { type QueryExecutorProvider, sql } from "kysely";
import pg from "pg";

/** Somebody else kept the database from being migrated for longer than we wait. Trying again later may help. */
export class MigrationBlocked extends Error {
  override readonly name = "MigrationBlocked";
}

/** Of the advisory lock that those who migrate take. Any number does, as long as it stays the same. */
const lock = 7_246_503_117;

/**
 * Takes the lock until the end of the transaction: a lock of the session's would stay with the pooler's connection.
 *
 * @returns whether it could be had. It is not waited for: a statement that waits holds a snapshot, for whose end a
 *   `create index concurrently` of the one who has the lock would wait in turn.
 */
export async function takeLock(transaction: QueryExecutorProvider): Promise<boolean> {
  const { rows } = await sql<{ taken: boolean }>`
    select pg_try_advisory_xact_lock(${sql.lit(lock)}) as taken`.execute(transaction);
  return rows[0]?.taken === true;
}

/** SQLSTATE: lock_not_available, deadlock_detected. */
export function isLockFailure(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === "55P03" || error.code === "40P01");
}

/** Names those who hold the lock of the migrations, and those who hold one on the table, the longest first. */
export async function describeHolders(db: QueryExecutorProvider, schema: string): Promise<string> {
  // What others do is not shown to everybody: of the rest, state and time are null.
  const { rows } = await sql<{
    pid: number;
    role: string | null;
    state: string | null;
    since: string | null;
  }>`
    select l.pid, a.usename as role, a.state, to_char(a.xact_start at time zone 'UTC', 'HH24:MI:SS') as since
    from (
      select distinct pid from pg_catalog.pg_locks
      where granted and pid <> pg_backend_pid()
        and database = (select oid from pg_catalog.pg_database where datname = current_database())
        and (
          relation in (
            select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            where n.nspname = ${schema} and c.relname in ('memory_job', 'memory_job_migration')
          )
          or locktype = 'advisory' and objsubid = 1
            and (classid::bigint << 32) | objid::bigint = ${sql.lit(lock)}
        )
    ) l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
    order by a.xact_start limit 5`.execute(db);
  return rows
    .map(({ pid, role, state, since }) => {
      const known = [role && `role ${role}`, state, since && `since ${since} UTC`].filter(Boolean);
      return known.length > 0 ? `${pid} (${known.join(", ")})` : `${pid}`;
    })
    .join(", ");
}
