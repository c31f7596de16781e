import { type QueryExecutorProvider, sql } from "kysely";

/** Each is justified by a measurement: see docs/evidence/retention.md. */
const parameters = {
  // Room for a row's next version in its page, which then changes no index.
  fillfactor: "90",
  // Truncating takes ACCESS EXCLUSIVE: on a standby, every read queues behind its replay, and those that run are cancelled.
  vacuum_truncate: "off",
  "toast.vacuum_truncate": "off",
};

/**
 * How long, in milliseconds, another migration or a vacuum is waited for. Nothing that reads or writes queues behind this
 * wait. After `deadlock_timeout`, one second by default, PostgreSQL cancels an autovacuum that is waited for.
 */
const lockTimeout = 3_000;

/**
 * Sets how the table is stored and vacuumed. What an operator has set stays. Rows that are there are not moved. Takes SHARE
 * UPDATE EXCLUSIVE: reads and writes go on.
 */
export async function up(db: QueryExecutorProvider): Promise<void> {
  // Partitioned and foreign tables have no storage of their own.
  const { rows: tables } = await sql<{ schema: string; name: string; given: string[] }>`
    select n.nspname as schema, c.relname as name, array(
      select split_part(option, '=', 1) from unnest(c.reloptions) option
      union all select 'toast.' || split_part(option, '=', 1) from pg_class t, unnest(t.reloptions) option
      where t.oid = c.reltoastrelid
    ) as given
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.oid in (
      select 'memory_job'::regclass union select relid from pg_partition_tree('memory_job')
    )`.execute(db);
  await sql`set local lock_timeout = ${sql.lit(lockTimeout)}`.execute(db);
  for (const { schema, name, given } of tables) {
    const missing = Object.entries(parameters).filter(([parameter]) => !given.includes(parameter));
    if (missing.length === 0) continue;
    const list = missing.map(([parameter, value]) => `${parameter} = ${value}`).join(", ");
    await sql`alter table ${sql.id(schema, name)} set (${sql.raw(list)})`.execute(db);
  }
}
