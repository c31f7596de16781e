import { type QueryExecutorProvider, sql } from "kysely";

/** What the guard calls `now()` is PostgreSQL's, whatever search path and functions a producer has. */
export async function up(db: QueryExecutorProvider): Promise<void> {
  await sql`alter function memory_job_guard() set search_path = pg_catalog, pg_temp`.execute(db);
}
