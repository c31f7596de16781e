import { type QueryExecutorProvider, sql } from "kysely";
import pg from "pg";

/** Other processes held a lock that a migration needs for longer than it is tried. A later attempt may succeed. */
export class MigrationBlocked extends Error {
  override readonly name = "MigrationBlocked";
}

/** The key of the advisory lock that serializes migrations. Every version of the service uses this number. */
const lock = 7_246_503_117;

/**
 * Takes the lock until the end of the transaction. A session lock would stay on the connection of a transaction-mode pooler.
 *
 * @returns false when another process holds it. This statement never waits: a waiting statement holds a snapshot, and a
 *   `create index concurrently` of the process that holds the lock would wait for that snapshot in turn.
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

/** Names the processes that hold the advisory lock or a lock on the table, the oldest transaction first. */
export async function describeHolders(db: QueryExecutorProvider, schema: string): Promise<string> {
  // PostgreSQL shows state and start of another role's transaction only to members of pg_read_all_stats: otherwise null.
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
