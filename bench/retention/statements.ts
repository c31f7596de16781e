import { failing } from "./plan.ts";

/** A statement of a producer for the jobs $1 to $2: all of them, or those that failed. $1 is one of those. */
export interface Statement {
  readonly name: string;
  readonly text: string;
  readonly jobs: "all" | "failed";
}

/** A job has a number, from which its id follows. MD5 makes it as random as that of a UUID of version 4. */
const id = "md5(i::text)::uuid";
const series = {
  all: "generate_series($1::bigint, $2::bigint) as i",
  failed: `generate_series($1::bigint, $2::bigint, ${failing}) as i`,
};
const error = "Vector database timeout during embedding generation";

/** @param createdAt when job i is submitted, as SQL. */
export function submit(createdAt: string): Statement {
  const text = `
    insert into memory_job (req_id, status, created_at)
    select ${id}, 'pending', date_trunc('second', ${createdAt}) from ${series.all}`;
  return { name: "submit", text, jobs: "all" };
}

/** Submits jobs that have been done since. @param createdAt when job i was submitted, as SQL. */
export function insertDone(createdAt: string): string {
  return `
    insert into memory_job (req_id, status, created_at)
    select ${id}, 'success', date_trunc('second', ${createdAt}) from ${series.all}`;
}

function move(name: string, jobs: Statement["jobs"], set: string): Statement {
  return { name, jobs, text: `update memory_job set ${set} from ${series[jobs]} where req_id = ${id}` };
}

export const start = move("start", "all", "status = 'processing'");
export const end = move(
  "end",
  "all",
  `status = case when i % ${failing} = 0 then 'failure' else 'success' end,
   error = case when i % ${failing} = 0 then '${error}' end`,
);
export const submitAgain = move("submit again", "failed", "status = 'pending', error = null");
export const startAgain = move("start again", "failed", "status = 'processing'");
export const succeed = move("succeed", "failed", "status = 'success'");

/**
 * Writes what {@link submitAgain} and the guard of the table write, but for the time, which the guard takes from the real clock.
 *
 * @param createdAt as SQL.
 */
export function submitAgainAt(createdAt: string): Statement {
  const set = `status = 'pending', error = null, updated_at = now(), created_at = date_trunc('second', ${createdAt})`;
  return move("submit again", "failed", set);
}
