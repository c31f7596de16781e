import { randomUUID } from "node:crypto";
import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { JobState } from "../../src/status/status.ts";
import type { Tables } from "../../src/store/schema/tables.ts";

/** Inserts a job. @param age in whole seconds. @returns its request id. */
export async function insertJob(
  db: Kysely<Tables>,
  {
    status = "pending",
    error = null,
    age = 0,
  }: { status?: JobState; error?: string | null; age?: number } = {},
): Promise<string> {
  const reqId = randomUUID();
  await sql`
    insert into memory_job (req_id, status, error, created_at)
    values (${reqId}, ${status}, ${error}, date_trunc('second', now()) - make_interval(secs => ${age}))`.execute(
    db,
  );
  return reqId;
}

/** Inserts pending jobs. @returns their request ids. */
export async function insertPending(db: Kysely<Tables>, count: number): Promise<string[]> {
  const { rows } = await sql<{ req_id: string }>`
    insert into memory_job (req_id, status)
    select gen_random_uuid(), 'pending' from generate_series(1, ${count}) returning req_id`.execute(db);
  return rows.map((row) => row.req_id);
}

/** The documented answer for a job, formatted by the database. */
export async function documentedJson(db: Kysely<Tables>, reqId: string): Promise<string> {
  const { rows } = await sql<{ status: string; error: string | null; created_at: string }>`
    select status, error, to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as created_at
    from memory_job where req_id = ${reqId}`.execute(db);
  const [row] = rows;
  if (row === undefined) throw new Error(`no row ${reqId}`);
  const { status, error, created_at: createdAt } = row;
  return JSON.stringify({ status, createdAt, ...(error !== null && { error }) });
}

/** Inserts finished jobs of which each is one second older than the one before. @param age of the youngest, in whole seconds. */
export async function insertAged(db: Kysely<Tables>, count: number, age: number): Promise<void> {
  await sql`
    insert into memory_job (req_id, status, created_at)
    select gen_random_uuid(), 'success', date_trunc('second', now()) - make_interval(secs => ${age} + n)
    from generate_series(0, ${count} - 1) n`.execute(db);
}
