import { type Kysely, sql } from "kysely";
import type { Tables } from "./tables.ts";

/** What is known of the engine that answers. */
export interface Engine {
  /** The table is on several servers, of which one may be unavailable. */
  readonly isDistributed: boolean;
}

/** Citus, or a table that is foreign or has foreign partitions (postgres_fdw). @throws the driver's error. */
export async function describeEngine(db: Kysely<Tables>): Promise<Engine> {
  const { rows } = await sql<Engine>`
    select
      exists (select from pg_extension where extname = 'citus')
      or exists (
        select from pg_class
        where relkind = 'f'
          and (
            oid = 'memory_job'::regclass
            or oid in (select inhrelid from pg_inherits where inhparent = 'memory_job'::regclass)
          )
      ) as "isDistributed"`.execute(db);
  return rows[0] ?? { isDistributed: false };
}
