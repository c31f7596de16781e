import pg from "pg";
import type { TestDatabase } from "./database.ts";

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
