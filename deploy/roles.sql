-- Who may do what in the database, for `npm run migrate` to have made the table first. May be run again at any time, by
-- whoever owns the table and may create roles. The table is the one that the search path leads to: where that is not so for
-- whoever runs this, say where (PGOPTIONS='-c search_path=…' psql …). Nobody logs in as these roles: grant them to those who do.
--
--   create role status_service login password '…' in role gomemory_reader;
--   create role memory_worker login password '…' in role gomemory_producer;

-- All of it or nothing, also in a psql that goes on after errors.
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
  foreach name in array array['gomemory_reader', 'gomemory_producer'] loop
    begin
      execute format('create role %I', name);
    exception
      -- It is there, or somebody else makes it at this moment.
      when duplicate_object or unique_violation then null;
    end;
    execute format('grant usage on schema %s to %I', schema, name);
  end loop;
end $$;

-- What was granted before, by hand or by an older version of this file, is gone; but for kysely_migration, which the
-- previous version of the service reads. Once no instance of that runs any more:
--   revoke all on kysely_migration from gomemory_reader;
revoke all on memory_job, memory_job_migration from gomemory_reader, gomemory_producer;

-- The service (`serve`): reads statuses, and at its start whether the schema is the one that it knows.
grant select on memory_job, memory_job_migration to gomemory_reader;

-- Producers: the four statements of docs/use/producers.md, and no column more than these need. When a job was created, and when it
-- changed, is the database's to say.
grant select (req_id, status, created_at) on memory_job to gomemory_producer;
grant insert (req_id, status, error) on memory_job to gomemory_producer;
grant update (status, error) on memory_job to gomemory_producer;

-- On a table that Citus has distributed, grants on columns do not reach the shards, and grants on the table do. There
-- producers need this one, with which they could also say when a new job was created:
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

-- Only for DATABASE_READ_URL, and not needed: with it, standbys are used again at once after a failover.
-- grant pg_read_all_stats to gomemory_reader;

-- Before PostgreSQL 15, everybody may make tables in schema public unless this is run.
-- revoke create on schema public from public;
