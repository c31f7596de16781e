import { type Kysely, sql } from "kysely";
import { type Migration, type MigrationResult, Migrator } from "kysely/migration";
import { up as memoryJob } from "./migrations/0001-memory-job.ts";
import type { Tables } from "./tables.ts";

/** In the order of their names. A migration that was released is never edited: add the next one. */
const migrations: Record<string, Migration> = {
  "0001-memory-job": { up: memoryJob },
};

/** The database's schema is not the one that this version of the service was written for. */
export class SchemaError extends Error {
  override readonly name = "SchemaError";
}

/** Of the advisory lock that those who migrate take. Any number does, as long as it stays the same. */
const lock = 7_246_503_117;

/**
 * Brings the schema up to this version. Several may do so at once: an advisory lock ends with the transaction, so the
 * others wait and then find nothing to do.
 *
 * @returns the names of the migrations that were run, none when the schema was current.
 * @throws SchemaError when a newer version of the service has migrated this database.
 */
export async function migrate(db: Kysely<Tables>): Promise<string[]> {
  await refuseUnknown(db);
  return await db.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(${sql.lit(lock)})`.execute(transaction);
    const provider = { getMigrations: () => Promise.resolve(migrations) };
    const migrator = new Migrator({ db: transaction, provider });
    const { error, results = [] } = await migrator.migrateToLatest();
    if (error !== undefined) throw error;
    return results.map((result: MigrationResult) => result.migrationName);
  });
}

/**
 * @throws SchemaError when the schema is older than this version, or newer, and says which command to run.
 */
export async function checkSchema(db: Kysely<Tables>): Promise<void> {
  const applied = await refuseUnknown(db);
  const missing = Object.keys(migrations).filter((name) => !applied.includes(name));
  if (missing.length > 0) {
    throw new SchemaError(
      `the database lacks ${missing.length} of ${Object.keys(migrations).length} migrations (${missing.join(", ")}): ` +
        "run `npm run migrate`, or start with MIGRATE=true",
    );
  }
}

async function refuseUnknown(db: Kysely<Tables>): Promise<string[]> {
  const applied = await appliedMigrations(db);
  const unknown = applied.filter((name) => !(name in migrations));
  if (unknown.length > 0) {
    throw new SchemaError(
      `the database has migrations that this version does not know (${unknown.join(", ")}): ` +
        "run the version of the service that made them, or a newer one",
    );
  }
  return applied;
}

async function appliedMigrations(db: Kysely<Tables>): Promise<string[]> {
  const { rows: tables } = await sql<{ found: boolean }>`
    select to_regclass('kysely_migration') is not null as found`.execute(db);
  if (!tables[0]?.found) return [];
  const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db);
  return rows.map((row) => row.name);
}
