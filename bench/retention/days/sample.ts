import type pg from "pg";

/** The table at a moment of the simulated days. Sizes in bytes. */
export interface Sample extends Sizes {
  /** Of the simulated time. */
  readonly hour: number;
  /** Seconds of the real time since the days began. */
  readonly after: number;
  /** Rows that were deleted since the days began. */
  readonly deleted: number;
  /** Of lookups by id while nothing else runs but vacuum, in milliseconds. */
  readonly lookups: { readonly p50: number; readonly p99: number };
}

export interface Sizes {
  readonly table: number;
  readonly indexes: Readonly<Record<string, number>>;
  /** Dead rows and updates as PostgreSQL's statistics count them. */
  readonly dead: number;
  readonly updates: number;
  readonly hotUpdates: number;
  readonly vacuums: number;
}

export async function readSizes(admin: pg.Client): Promise<Sizes> {
  const { rows } = await admin.query<Sizes>(`
    select pg_relation_size(relid)::float8 as table,
           (select json_object_agg(indexrelname, pg_relation_size(indexrelid))
            from pg_stat_user_indexes as i where i.relid = t.relid) as indexes,
           n_dead_tup::float8 as dead, n_tup_upd::float8 as updates, n_tup_hot_upd::float8 as "hotUpdates",
           (autovacuum_count + vacuum_count)::float8 as vacuums
    from pg_stat_user_tables as t where relname = 'memory_job'`);
  const [sizes] = rows;
  if (sizes === undefined) throw new Error("there is no memory_job");
  return sizes;
}

/** The table and all its indexes. */
export function totalBytes({ table, indexes }: Pick<Sizes, "table" | "indexes">): number {
  return Object.values(indexes).reduce((sum, bytes) => sum + bytes, table);
}
