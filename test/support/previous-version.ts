import { type Kysely, sql } from "kysely";
import { Migrator } from "kysely/migration";
import { up } from "../../src/store/schema/migrations/0001-memory-job.ts";

// What the service did before it had a list of migrations of its own: this is what a database looks like that it has
// migrated, and what it does to one while instances of it still run.

/** Its only migration. */
const known = "0001-memory-job";

export async function migrateAsPrevious<T>(db: Kysely<T>): Promise<void> {
  const provider = { getMigrations: () => Promise.resolve({ [known]: { up } }) };
  const { error } = await new Migrator({ db, provider }).migrateToLatest();
  if (error !== undefined) throw error;
}

/** Whether it would start. */
export async function startsAsPrevious<T>(db: Kysely<T>): Promise<boolean> {
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
  return rows.length === 1 && rows[0]?.name === known;
}
