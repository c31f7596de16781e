import { type Kysely, sql } from "kysely";
import { Migrator } from "kysely/migration";
import { up } from "../../src/store/schema/migrations/0001-memory-job.ts";

// The migration of the version before the service had a migration list of its own: it leaves a database as that version did,
// and shows whether instances of that version still start.

/** Its only migration. */
const known = "0001-memory-job";

export async function migrateAsPrevious<T>(db: Kysely<T>): Promise<void> {
  const provider = { getMigrations: () => Promise.resolve({ [known]: { up } }) };
  const { error } = await new Migrator({ db, provider }).migrateToLatest();
  if (error !== undefined) throw error;
}

/** Whether the previous version would start. */
export async function startsAsPrevious<T>(db: Kysely<T>): Promise<boolean> {
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
  return rows.length === 1 && rows[0]?.name === known;
}
