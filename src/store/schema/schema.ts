import { type Kysely, sql } from "kysely";
import { readList } from "./migration-list.ts";
import { migrations } from "./migrations/migrations.ts";
import { SchemaError } from "./schema-error.ts";
import type { Tables } from "./tables.ts";

/** The migrations of a schema, compared with those of this version. */
export interface MigrationState {
  /** Known, and not run yet. */
  readonly missing: readonly string[];
  /** Run by a newer version. */
  readonly unknown: readonly string[];
}

/** A table or view named memory_job. */
interface FoundTable {
  readonly schema: string;
  /** Whether the role has USAGE on the schema. */
  readonly usable: boolean;
  /** Whether the role may select from it. */
  readonly readable: boolean;
  /** Its indexes that no statement uses: their build has failed, or has not ended. */
  readonly invalidIndexes: readonly string[];
}

/** What a role can read about the schema. */
interface SchemaFacts {
  /** The schemas of the search_path that exist and that the role may use. */
  readonly searchPath: readonly string[];
  /** The table that an unqualified `memory_job` leads to. */
  readonly table: FoundTable | undefined;
  /** Tables of that name in other schemas. */
  readonly others: readonly FoundTable[];
  /** The migrations of the schema of the table. Undefined when there is no table, or the role may not read the list. */
  readonly migrations: MigrationState | undefined;
}

/** Asks the catalogs, which every role may read, and the list of migrations. Touches no shard of a distributed table. */
export async function describeSchema(db: Kysely<Tables>): Promise<SchemaFacts> {
  const { rows } = await sql<{ searchPath: string[]; tables: (FoundTable & { found: boolean })[] }>`
    select current_schemas(false)::text[] as "searchPath", (
      select coalesce(json_agg(json_build_object(
        'schema', n.nspname,
        'usable', has_schema_privilege(n.oid, 'usage'),
        'readable', has_any_column_privilege(c.oid, 'select'),
        'invalidIndexes', array(
          select x.relname from pg_catalog.pg_index i join pg_catalog.pg_class x on x.oid = i.indexrelid
          where i.indrelid = c.oid and not i.indisvalid order by x.relname
        ),
        'found', coalesce(c.oid = to_regclass('memory_job'), false)
      ) order by n.nspname), '[]')
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.relname = 'memory_job' and c.relkind in ('r', 'p', 'f', 'v', 'm')
    ) as tables`.execute(db);
  const { searchPath, tables } = rows[0] ?? { searchPath: [], tables: [] };
  const table = tables.find(({ found }) => found);
  return {
    searchPath,
    table,
    others: tables.filter(({ found }) => !found),
    migrations: table && (await readMigrations(db, table.schema)),
  };
}

/** @returns undefined when the role may not read the list. */
export async function readMigrations(
  db: Kysely<Tables>,
  schema: string,
): Promise<MigrationState | undefined> {
  const { names } = await readList(db, schema);
  return names && compare(names, migrations);
}

export function compare(names: readonly string[], known: readonly { name: string }[]): MigrationState {
  return {
    missing: known.map(({ name }) => name).filter((name) => !names.includes(name)),
    unknown: names.filter((name) => !known.some((migration) => migration.name === name)),
  };
}

/**
 * @returns warnings for the operator, about a schema that the service can work with: it is older or newer than this version,
 *   or the role may not read the list of migrations.
 * @throws SchemaError when statements do not find the table. The message says where the table is and what to do.
 */
export async function checkSchema(db: Kysely<Tables>): Promise<string[]> {
  const facts = await describeSchema(db);
  if (facts.table === undefined) throw new SchemaError(whereTheTableIs(facts));
  return schemaWarnings(facts);
}

/** @returns where a table is that an unqualified name does not lead to, and what to do. */
function whereTheTableIs({ searchPath, others }: SchemaFacts): string {
  const path = `the search_path (${searchPath.join(", ") || "of which no schema exists that this role may use"})`;
  if (others.length === 0) {
    return `there is no table memory_job in ${path}: run \`npm run migrate\`, or start with MIGRATE=true`;
  }
  const places = others.map(({ schema, usable }) =>
    usable
      ? `in schema ${schema}, which is not on ${path}: set it for this role (alter role … set search_path = …)`
      : `in schema ${schema}, on which this role has no USAGE: run deploy/roles.sql, and grant one of its roles to this one`,
  );
  return `memory_job cannot be seen: it is ${places.join("; or ")}`;
}

function schemaWarnings({ table, migrations: state }: SchemaFacts): string[] {
  const warnings = (table?.invalidIndexes ?? []).map(
    (index) =>
      `the index ${index} of memory_job is not valid, which costs writes and serves no statement: unless it is being built now, ` +
      "rebuild it (reindex index concurrently …) or drop it (drop index concurrently …)",
  );
  if (state === undefined) {
    return [
      ...warnings,
      `this role may not read memory_job_migration in schema ${table?.schema}, so it is not known whether the schema is ` +
        "current: run deploy/roles.sql again",
    ];
  }
  if (state.missing.length > 0) {
    warnings.push(
      `the database lacks ${state.missing.length} of ${migrations.length} migrations (${state.missing.join(", ")}): ` +
        "run `npm run migrate`, or start with MIGRATE=true",
    );
  }
  if (state.unknown.length > 0) warnings.push(newerSchema(state.unknown));
  return warnings;
}

export function newerSchema(unknown: readonly string[]): string {
  return `a newer version of the service has migrated the database (${unknown.join(", ")})`;
}
