import { type QueryExecutorProvider, sql } from "kysely";

/** The guard calls PostgreSQL's own `now()`, whatever functions the search path of a producer leads to. */
export async function up(db: QueryExecutorProvider): Promise<void> {
  await sql`alter function memory_job_guard() set search_path = pg_catalog, pg_temp`.execute(db);
}
