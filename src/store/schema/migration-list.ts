import { type QueryExecutorProvider, sql } from "kysely";

/** The migrations that a schema has had, as it records them. */
interface MigrationList {
  /** Whether memory_job_migration exists. Older versions of the service recorded their migration in kysely_migration. */
  readonly exists: boolean;
  /** Undefined when the role may not read the list. */
  readonly names: readonly string[] | undefined;
  /** Whether the schema has a memory_job, made by a migration or by hand. */
  readonly hasTable: boolean;
}

/**
 * The migration that versions before memory_job_migration recorded in kysely_migration. Other applications that use Kysely
 * have a table of that name as well, in the same schema or in another.
 */
const legacy = "0001-memory-job";

/** @param schema one that the role may use. */
export async function readList(db: QueryExecutorProvider, schema: string): Promise<MigrationList> {
  const { rows } = await sql<{ name: string; readable: boolean }>`
    select c.relname as name, has_any_column_privilege(c.oid, 'select') as readable
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = ${schema} and c.relkind in ('r', 'p', 'f', 'v')
      and c.relname in ('memory_job', 'memory_job_migration', 'kysely_migration')`.execute(db);
  const tables = new Map(rows.map(({ name, readable }) => [name, readable]));
  const hasTable = tables.has("memory_job");
  const list = tables.get("memory_job_migration");
  if (list !== undefined) {
    const names = list ? await namesIn(db, schema, "memory_job_migration") : undefined;
    return { exists: true, names, hasTable };
  }
  const recorded =
    hasTable && tables.get("kysely_migration") ? await namesIn(db, schema, "kysely_migration") : [];
  return { exists: false, names: recorded.filter((name) => name === legacy), hasTable };
}

/** Makes memory_job_migration with these names. kysely_migration stays as it is: the previous version reads it. */
export async function createList(
  db: QueryExecutorProvider,
  schema: string,
  names: readonly string[],
): Promise<void> {
  await sql`
    create table ${sql.id(schema, "memory_job_migration")} (
      name        text primary key,
      migrated_at timestamptz not null default now()
    )`.execute(db);
  for (const name of names) await record(db, schema, name);
}

export async function record(db: QueryExecutorProvider, schema: string, name: string): Promise<void> {
  await sql`insert into ${sql.id(schema, "memory_job_migration")} (name) values (${name})`.execute(db);
}

async function namesIn(db: QueryExecutorProvider, schema: string, table: string): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select name from ${sql.id(schema, table)} order by name`.execute(db);
  return rows.map((row) => row.name);
}
