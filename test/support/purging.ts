import pg from "pg";
import { createDatabase, type TestDatabase } from "./database.ts";
import { insertAged } from "./rows.ts";

/** In seconds. */
const hour = 3_600;

export async function countJobs({ pool }: TestDatabase): Promise<number> {
  const { rows } = await pool.query<{ count: number }>("select count(*)::integer as count from memory_job");
  return rows[0]?.count ?? 0;
}

/** Another purger, in the middle of a batch, until it is disposed of. */
export async function startOtherPurger({ url }: TestDatabase): Promise<AsyncDisposable> {
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await other.query("begin; select * from memory_job_purge()");
  return { [Symbol.asyncDispose]: () => other.end() };
}

/** A database with 12 jobs that a purge deletes, and 3 that are expired and younger. */
export async function createDatabaseToPurge(): Promise<TestDatabase> {
  const database = await createDatabase();
  await insertAged(database.db, 12, 25 * hour);
  await insertAged(database.db, 3, 24 * hour);
  return database;
}
