import { type Kysely, sql } from "kysely";
import type { Tables } from "../schema/tables.ts";

/** What keeps the server from removing rows that were deleted since. */
export interface OldTransaction {
  /** For people: the process, its role and application as far as they are known, or the slot or the prepared transaction. */
  readonly holder: string;
  /** When it began. Undefined: not known. */
  readonly since: Date | undefined;
}

/** The age, in transactions, from which a holder is old whose beginning is not known: replication slots and standbys report no time. */
const maxAge = 1_000_000;

/**
 * What bounds the rows that vacuum may remove from the tables of this database: the transactions that this database's sessions
 * have open and see, prepared transactions, and what a replication slot or a standby asks to keep. A session that vacuums
 * bounds nothing. Sessions of other roles are described only to members of pg_read_all_stats.
 *
 * @param minutes for which a transaction may be open.
 */
export async function findOldTransactions(db: Kysely<Tables>, minutes = 10): Promise<OldTransaction[]> {
  const { rows } = await sql<{ holder: string; since: string | null }>`
    select holder, (extract(epoch from since) * 1000)::bigint as since from (
      select 'process ' || pid || ' (' || concat_ws(', ', 'role ' || usename, nullif(application_name, ''), state) || ')' as holder,
        xact_start as since, greatest(age(backend_xid), age(backend_xmin)) as age
      from pg_stat_activity a
      where (datid is null or datname = current_database()) and pid <> pg_backend_pid()
        and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
      union all
      select 'prepared transaction ' || gid || ' (role ' || owner || ')', prepared, age(transaction)
      from pg_prepared_xacts where database = current_database()
      union all
      select 'replication slot ' || slot_name || case when active then '' else ' (inactive)' end, null,
        case when active then age(xmin) else greatest(age(xmin), ${sql.lit(maxAge)}) end
      from pg_replication_slots where xmin is not null
    ) found
    where age is not null and (since < now() - make_interval(mins => ${minutes}) or since is null and age >= ${sql.lit(maxAge)})
    order by age desc`.execute(db);
  return rows.map(({ holder, since }) => ({
    holder,
    since: since === null ? undefined : new Date(Number(since)),
  }));
}
