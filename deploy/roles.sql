-- Database roles for the service, for producers, and for purging. Run `npm run migrate` first, and then this file, as a role that
-- owns the table and may create roles; it may be run again at any time. The table is found by the search path: if that does not
-- lead to it, set it (PGOPTIONS='-c search_path=…' psql …). These roles have no login: grant them to the roles that log in.
--
--   create role status_service login password '…' in role gomemory_reader;
--   create role memory_worker login password '…' in role gomemory_producer;
--   create role status_purger login password '…' in role gomemory_purger;

-- One transaction: a psql that continues after errors applies all of it or nothing.
begin;

do $$
declare
  name text;
  job constant regclass := to_regclass('memory_job');
  list constant regclass := to_regclass('memory_job_migration');
  schema constant regnamespace := (select relnamespace from pg_class where oid = job);
begin
  if job is null then
    raise exception 'no table memory_job in the schemas of the search_path (%)', current_setting('search_path')
      using hint = 'Run `npm run migrate` first, or set the search_path to where the table is.';
  end if;
  if list is null or schema <> (select relnamespace from pg_class where oid = list) then
    raise exception 'no table memory_job_migration beside memory_job in schema %', schema
      using hint = 'Run `npm run migrate` first, and set the search_path to that schema.';
  end if;
  if to_regprocedure(schema || '.memory_job_purge(interval, integer, timestamptz)') is null then
    raise exception 'no function memory_job_purge beside memory_job in schema %: the schema is of an earlier version', schema
      using hint = 'Run `npm run migrate` first, of the version that this file belongs to.';
  end if;
  -- Concurrent runs wait for each other: PostgreSQL fails concurrent grants on one object ("tuple concurrently updated").
  perform pg_advisory_xact_lock(hashtext('gomemory_reader'));
  foreach name in array array['gomemory_reader', 'gomemory_producer', 'gomemory_purger'] loop
    begin
      execute format('create role %I', name);
    exception
      -- The role exists, or a concurrent session is creating it.
      when duplicate_object or unique_violation then null;
    end;
    execute format('grant usage on schema %s to %I', schema, name);
  end loop;

  -- Purging: the two functions, which delete expired jobs alone, and nothing of the table itself.
  execute format(
    'revoke all on function %1$s.memory_job_purge(interval, integer, timestamptz), %1$s.memory_job_purgeable(interval)
     from public, gomemory_reader, gomemory_producer', schema);
  execute format(
    'grant execute on function %1$s.memory_job_purge(interval, integer, timestamptz), %1$s.memory_job_purgeable(interval)
     to gomemory_purger', schema);
end $$;

-- Revokes earlier grants, made by hand or by an older version of this file, except those on kysely_migration, which the
-- previous version of the service reads. After its last instance has been replaced:
--   revoke all on kysely_migration from gomemory_reader;
revoke all on memory_job, memory_job_migration from gomemory_reader, gomemory_producer, gomemory_purger;

-- The service (`serve`): reads statuses, and at its start the schema's version.
grant select on memory_job, memory_job_migration to gomemory_reader;

-- Producers: the four statements of docs/use/producers.md, and only the columns that these need. The database sets created_at and
-- updated_at.
grant select (req_id, status, created_at) on memory_job to gomemory_producer;
grant insert (req_id, status, error) on memory_job to gomemory_producer;
grant update (status, error) on memory_job to gomemory_producer;

-- On a table that Citus has distributed, grants on columns do not reach the shards, but grants on the table do. There,
-- producers need this grant, which also allows them to set created_at of a new job:
--   grant select, insert, update on memory_job to gomemory_producer;
do $$
declare
  distributed boolean := false;
begin
  if to_regclass('pg_dist_partition') is not null then
    execute 'select exists (select from pg_dist_partition where logicalrel = ''memory_job''::regclass)' into distributed;
  end if;
  if distributed then
    raise warning 'memory_job is distributed by Citus, where grants on columns do not reach the shards'
      using hint = 'For producers: grant select, insert, update on memory_job to gomemory_producer;';
  end if;
end $$;

commit;

-- Optional, with DATABASE_READ_URL: lets the service use standbys again at once after a failover.
-- grant pg_read_all_stats to gomemory_reader;

-- Optional: lets `purge` name the transactions of other roles that keep the server from removing what was purged.
-- grant pg_read_all_stats to gomemory_purger;

-- Before PostgreSQL 15, every role may create tables in schema public unless this is run.
-- revoke create on schema public from public;
