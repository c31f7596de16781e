import { type QueryExecutorProvider, sql } from "kysely";

/**
 * The key of the advisory lock that one purger at a time holds, together with the oid of the table. Every version of the
 * service uses this number.
 */
const purgeLock = 724_650_312;

/**
 * The functions with which a role deletes expired jobs that may not delete anything else. They run as the table's owner. So
 * everything in them has an operator or function of pg_catalog for exactly the types of its arguments: what others may have
 * created in the table's schema is preferred only where pg_catalog has none.
 */
export async function up(db: QueryExecutorProvider, schema: string): Promise<void> {
  // Row-level security, where it is forced upon the owner, is an error, and does not hide rows that would then stay for ever.
  const settings = sql`security definer set row_security = off set search_path = pg_catalog, ${sql.id(schema)}, pg_temp`;

  // In seconds: in the session's time zone, a day may last 23 or 25 hours. The time is compared, and not the interval: to
  // PostgreSQL, `-1 year 361 days` equals one day, and its seconds are those of -4.25 days.
  const setCutoff = sql`
      cutoff := now() - extract(epoch from older_than)::double precision * interval '1 second';
      if cutoff is null or cutoff > now() - interval '24 hours' then
        raise exception 'older_than is %, and must be 24 hours or more: a status is valid for that long', older_than
          using errcode = 'invalid_parameter_value';
      end if`;

  // A plan that depends on no statistics: the index in its order, as far as the limit.
  await sql`
    create function memory_job_purge(
      older_than interval default interval '25 hours',
      max_rows integer default 5000,
      not_before timestamptz default '-infinity'
    ) returns table (purged integer, oldest timestamptz, newest timestamptz, cutoff timestamptz, is_last boolean)
    language plpgsql ${settings} set enable_seqscan = off set enable_bitmapscan = off as $$
    declare
      job constant oid := 'memory_job'::regclass;
      tids tid[];
      ids uuid[];
    begin${setCutoff};
      if max_rows is null or max_rows < 1 or max_rows > 5000 then
        raise exception 'max_rows is %, and must be from 1 to 5000', max_rows
          using errcode = 'invalid_parameter_value';
      end if;
      if not_before is null then
        raise exception 'not_before is null, and must be a time: -infinity for all jobs'
          using errcode = 'invalid_parameter_value';
      end if;
      if not pg_try_advisory_xact_lock(${sql.lit(purgeLock)}, job::integer) then
        return;
      end if;
      -- The rows stay locked, and a row that was submitted again before it was locked is not among them. The condition is
      -- repeated all the same where the rows are deleted: in words for which no index is searched.
      if exists (select from pg_class where oid = job and relkind = 'r' and not relhassubclass) then
        tids := array(
          select ctid from memory_job where created_at < cutoff and created_at >= not_before
          order by created_at limit max_rows for update skip locked);
        with deleted as (
          delete from memory_job where ctid = any (tids) and (created_at < cutoff) is true returning created_at
        ) select count(*), min(created_at), max(created_at) into purged, oldest, newest from deleted;
      else
        -- Every partition has a row of each ctid.
        ids := array(
          select req_id from memory_job where created_at < cutoff and created_at >= not_before
          order by created_at limit max_rows for update skip locked);
        with deleted as (
          delete from memory_job where req_id = any (ids) and (created_at < cutoff) is true returning created_at
        ) select count(*), min(created_at), max(created_at) into purged, oldest, newest from deleted;
      end if;
      is_last := purged < max_rows;
      return next;
    end $$`.execute(db);

  await sql`
    create function memory_job_purgeable(older_than interval default interval '25 hours')
    returns table (jobs bigint, oldest timestamptz) language plpgsql stable ${settings} as $$
    declare
      cutoff timestamptz;
    begin${setCutoff};
      return query select count(*), min(created_at) from memory_job where created_at < cutoff;
    end $$`.execute(db);

  const purge = sql`memory_job_purge(interval, integer, timestamptz)`;
  const purgeable = sql`memory_job_purgeable(interval)`;
  await sql`revoke execute on function ${purge}, ${purgeable} from public`.execute(db);

  // A superuser may have migrated the table of another role.
  const { rows } = await sql<{ owner: string }>`
    select rolname as owner from pg_roles join pg_class on relowner = pg_roles.oid
    where pg_class.oid = 'memory_job'::regclass and rolname <> current_user`.execute(db);
  for (const { owner } of rows) {
    await sql`alter function ${purge} owner to ${sql.id(owner)}`.execute(db);
    await sql`alter function ${purgeable} owner to ${sql.id(owner)}`.execute(db);
  }
}
