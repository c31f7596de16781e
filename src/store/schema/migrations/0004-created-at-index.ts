import { type QueryExecutorProvider, sql } from "kysely";
import pg from "pg";
import { SchemaError } from "../schema-error.ts";

/** The table, or a partition of it that has rows. */
interface Table {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}

/** A B-tree on `created_at` alone, as this migration builds it. */
interface Index {
  readonly schema: string;
  readonly name: string;
  readonly valid: boolean;
}

const indexName = "memory_job_created_at";

/**
 * How long, in milliseconds, another process that builds an index, or vacuums, is waited for. Nothing that reads or writes
 * queues behind this wait. After `deadlock_timeout`, one second by default, PostgreSQL cancels an autovacuum that is waited for.
 */
const buildTimeout = 3_000;

/** How long, in milliseconds, writes may queue behind the attaching of indexes: as behind any statement of a migration. */
const attachTimeout = 250;

/** The index by which expired jobs are found. What an operator has built before is kept. */
export async function up(db: QueryExecutorProvider, schema: string): Promise<void> {
  const { rows } = await sql<Table & { kind: string }>`
    select oid, relnamespace::regnamespace::text as schema, relname as name, relkind as kind from pg_catalog.pg_class
    where relname = 'memory_job' and relnamespace = (select oid from pg_catalog.pg_namespace where nspname = ${schema})`.execute(
    db,
  );
  const [table] = rows;
  if (table?.kind === "r") await build(db, { ...table, schema }, indexName);
  if (table?.kind === "p") await buildOnPartitions(db, { ...table, schema });
}

/** @param name that the index has to have; otherwise PostgreSQL names it. */
async function build(db: QueryExecutorProvider, table: Table, name?: string): Promise<void> {
  if ((await findIndexes(db, table, name)).some(({ valid }) => valid)) return;
  await waitForBuilds(db, table);
  const found = await findIndexes(db, table, name);
  if (found.some(({ valid }) => valid)) return;
  // An index that is not valid and that no process builds is left from a build that failed.
  for (const index of found) {
    await sql`drop index concurrently if exists ${sql.id(index.schema, index.name)}`.execute(db);
  }
  const named = name === undefined ? sql`` : sql.id(name);
  try {
    await sql`create index concurrently ${named} on ${sql.id(table.schema, table.name)} (created_at)`.execute(
      db,
    );
  } catch (error) {
    if (isCanceled(error)) throw new SchemaError(buildWasCanceled, { cause: error });
    if (!isDuplicateTable(error)) throw error;
    // Another process may have begun to build it just now.
    if ((await findIndexes(db, table, name)).length === 0) throw new SchemaError(nameIsTaken(table));
    await build(db, table, name);
  }
}

/**
 * PostgreSQL builds no index concurrently on a partitioned table. It does on each partition, and an index on the partitioned
 * table then takes over those that it finds there, without reading a row. Foreign tables have no indexes here.
 */
async function buildOnPartitions(db: QueryExecutorProvider, table: Table): Promise<void> {
  const [index] = await findIndexes(db, table, indexName);
  if (index?.valid) return;
  if (index) throw new SchemaError(isNotAttached(index));
  const { rows: partitions } = await sql<Table>`
    select c.oid, n.nspname as schema, c.relname as name
    from pg_catalog.pg_partition_tree(${table.oid}::oid::regclass) p
    join pg_catalog.pg_class c on c.oid = p.relid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where p.isleaf and c.relkind = 'r'`.execute(db);
  for (const partition of partitions) await build(db, partition);
  try {
    await sql`
      set local lock_timeout = ${sql.lit(attachTimeout)};
      create index ${sql.id(indexName)} on ${sql.id(table.schema, table.name)} (created_at)`.execute(db);
  } catch (error) {
    throw isDuplicateTable(error) ? new SchemaError(nameIsTaken(table)) : error;
  }
}

/**
 * Waits until no process builds an index on the table. `create index concurrently` must not do that itself: it would hold a
 * snapshot for which that build waits in turn, and PostgreSQL would end one of the two. `lock table` holds none.
 *
 * @throws the driver's error (lock_not_available) when the process takes longer.
 */
async function waitForBuilds(db: QueryExecutorProvider, table: Table): Promise<void> {
  await sql`
    set local lock_timeout = ${sql.lit(buildTimeout)};
    lock table ${sql.id(table.schema, table.name)} in share update exclusive mode`.execute(db);
}

async function findIndexes(db: QueryExecutorProvider, table: Table, name?: string): Promise<Index[]> {
  const { rows } = await sql<Index>`
    select n.nspname as schema, c.relname as name, i.indisvalid as valid
    from pg_catalog.pg_index i
    join pg_catalog.pg_class c on c.oid = i.indexrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_am m on m.oid = c.relam
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = ${table.oid} and m.amname = 'btree' and a.attname = 'created_at' and i.indnatts = 1
      and not i.indisunique and i.indpred is null`.execute(db);
  return rows.filter((index) => name === undefined || index.name === name);
}

/** SQLSTATE query_canceled: by a timeout of the role, which would end each build, or by an operator. */
function isCanceled(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === "57014";
}

const buildWasCanceled =
  `the build of ${indexName} was canceled: if this role has a statement_timeout, build the index first, without one ` +
  "(see docs/operate/upgrading.md), and migrate again";

function isDuplicateTable(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === "42P07";
}

function nameIsTaken({ schema }: Table): string {
  return (
    `${indexName} in schema ${schema} is not the index that is needed (a B-tree on created_at of memory_job alone, not unique, ` +
    "without a condition): rename or drop it, and migrate again"
  );
}

function isNotAttached({ schema }: Index): string {
  return (
    `the index ${indexName} in schema ${schema} is not valid, since a partition of memory_job has no index that is attached to it: ` +
    "attach what is missing (alter index … attach partition …) or drop it, and migrate again"
  );
}
