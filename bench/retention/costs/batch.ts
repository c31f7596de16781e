import type pg from "pg";

/** How the rows that a batch has chosen are found again, to be deleted. */
export type Address = "ctid" | "req_id";

export interface Batch {
  readonly rows: number;
  /** What is older is purged, as SQL. */
  readonly cutoff: string;
  readonly notBefore?: string | undefined;
  readonly address?: Address;
}

export interface BatchCosts {
  readonly pages: number;
  readonly milliseconds: number;
  readonly wal: number;
}

/** What `memory_job_purge` does: chooses the oldest rows that nobody has locked. */
export function choice({ rows, cutoff, notBefore = "'-infinity'", address = "ctid" }: Batch): string {
  return `select ${address} from memory_job where created_at < ${cutoff} and created_at >= ${notBefore}
    order by created_at limit ${rows} for update skip locked`;
}

export function purge(batch: Batch): string {
  const { address = "ctid", cutoff } = batch;
  return `delete from memory_job where ${address} = any(array(${choice(batch)})) and created_at < ${cutoff}`;
}

/** Runs a statement and counts. */
export async function explain(client: pg.Client, statement: string): Promise<BatchCosts> {
  const { rows } = await client.query(`explain (analyze, buffers, wal, format json) ${statement}`);
  const [{ Plan: plan, "Execution Time": milliseconds }] = rows[0]["QUERY PLAN"];
  return {
    pages: plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
    milliseconds,
    wal: plan["WAL Bytes"] ?? 0,
  };
}

/** Runs a statement that changes or locks rows, counts, and undoes it. */
export async function explainAndUndo(client: pg.Client, statement: string, before = ""): Promise<BatchCosts> {
  await client.query(`begin; ${before}`);
  try {
    return await explain(client, statement);
  } finally {
    await client.query("rollback");
  }
}
