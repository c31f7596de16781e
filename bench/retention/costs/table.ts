import type pg from "pg";
import type { CostsBench } from "./bench.ts";

/** A table with the rows of 25 hours, numbered by age. */
export interface FilledTable {
  readonly client: pg.Client;
  /** When it is full. */
  readonly rows: number;
  /** The number of the oldest row that was not purged. */
  oldest: number;
  /** The number of the next row. */
  next: number;
  /** When a row was created, as SQL. */
  at(row: number | string): string;
}

const start = "timestamptz '2026-01-01T00:00:00Z'";
const retention = 25 * 3600;

/** @param fillfactor of the table. */
export async function fill(bench: CostsBench, rows: number, fillfactor: number): Promise<FilledTable> {
  const schema = "filled";
  await bench.create(schema, { index: "none", fillfactor });
  const client = await bench.connect(schema);
  // Vacuum marks no page as all-visible while a commit that it depends on has not been written.
  await client.query("set synchronous_commit = on");
  const at = (row: number | string) =>
    `date_trunc('second', ${start} + make_interval(secs => ${row} * ${retention / rows}::float8))`;
  const table = { client, rows, oldest: 0, next: 0, at };
  await client.query("alter table memory_job drop constraint memory_job_pkey");
  await refill(table);
  // Ids that were inserted one by one, at random, fill seven tenths of the pages.
  await client.query("alter table memory_job add primary key (req_id) with (fillfactor = 70)");
  await client.query("create index memory_job_created_at on memory_job (created_at)");
  await client.query("vacuum (analyze) memory_job");
  return table;
}

/** Removes what was purged, and inserts as many new rows. */
export async function refill(table: FilledTable): Promise<void> {
  await table.client.query("vacuum memory_job");
  await insert(table, table.oldest + table.rows - table.next);
}

/** Inserts new rows. */
export async function insert(table: FilledTable, count: number): Promise<void> {
  const { client, next, at } = table;
  await client.query(`
    insert into memory_job (req_id, status, created_at)
    select md5(i::text)::uuid, 'success', ${at("i")} from generate_series(${next}::bigint, ${next + count - 1}) i`);
  table.next += count;
}
