import type pg from "pg";

/** Bytes of the table's parts. */
export interface Sizes {
  readonly heap: number;
  readonly primaryKey: number;
  readonly createdAt: number;
}

export async function heapAndIndexes(client: pg.Client): Promise<Sizes> {
  const { rows } = await client.query<Sizes>(`
    select pg_relation_size('memory_job')::float8 as heap,
           pg_relation_size('memory_job_pkey')::float8 as "primaryKey",
           coalesce(pg_relation_size(to_regclass('memory_job_created_at')), 0)::float8 as "createdAt"`);
  return rows[0] as Sizes;
}

/** Bytes of WAL since the server was made. */
export async function walPosition(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ wal: number }>(
    "select (pg_current_wal_insert_lsn() - '0/0')::float8 as wal",
  );
  return rows[0]?.wal ?? Number.NaN;
}

/** Updates of the table, and how many of them changed no index (heap-only tuples). */
export async function updates(client: pg.Client): Promise<{ updates: number; hot: number }> {
  await client.query("select pg_stat_force_next_flush()");
  const { rows } = await client.query<{ updates: number; hot: number }>(`
    select pg_stat_get_tuples_updated('memory_job'::regclass)::float8 as updates,
           pg_stat_get_tuples_hot_updated('memory_job'::regclass)::float8 as hot`);
  return rows[0] as { updates: number; hot: number };
}

/** Pages that an `explain (analyze, buffers, format json)` has counted. */
export function planPages(plan: unknown): number {
  const [{ Plan: top }] = plan as [{ Plan: Record<string, number> }];
  return (top["Shared Hit Blocks"] ?? 0) + (top["Shared Read Blocks"] ?? 0);
}

export interface VacuumCosts {
  /** Read or found in memory. */
  readonly pages: number;
  readonly dirtied: number;
  readonly wal: number;
  readonly seconds: number;
}

/** @param options of VACUUM, besides verbose. */
export async function vacuumVerbosely(client: pg.Client, options = "analyze false"): Promise<VacuumCosts> {
  let text = "";
  const listen = ({ message = "" }: { message?: string | undefined }) => {
    text += `${message}\n`;
  };
  client.on("notice", listen);
  await client.query(`vacuum (verbose, ${options}) memory_job`);
  client.off("notice", listen);
  return readVacuum(text);
}

/** Reads the report of a `vacuum (verbose)`. @throws Error when it has not the figures that are read. */
export function readVacuum(text: string): VacuumCosts {
  // The report of the table comes first; that of its TOAST table follows.
  const buffers = /buffer usage: (\d+) hits, (\d+) (?:reads|misses), (\d+) dirtied/.exec(text);
  const wal = /WAL usage: \d+ records, \d+ full page images, (\d+) bytes/.exec(text);
  const elapsed = /elapsed: ([\d.]+) s/.exec(text);
  if (!buffers || !wal || !elapsed) throw new Error(`this is not the report of a vacuum: ${text}`);
  return {
    pages: Number(buffers[1]) + Number(buffers[2]),
    dirtied: Number(buffers[3]),
    wal: Number(wal[1]),
    seconds: Number(elapsed[1]),
  };
}
