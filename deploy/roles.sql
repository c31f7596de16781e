-- Who may do what in the database, for `npm run migrate` to have made the table first. May be run again at any time, by
-- whoever owns the table and may create roles. Nobody logs in as these roles: grant them to those who do.
--
--   create role status_service login password '…' in role gomemory_reader;
--   create role memory_worker login password '…' in role gomemory_producer;

do $$
declare
  name text;
begin
  foreach name in array array['gomemory_reader', 'gomemory_producer'] loop
    begin
      execute format('create role %I', name);
    exception
      -- It is there, or somebody else makes it at this moment.
      when duplicate_object or unique_violation then null;
    end;
  end loop;
end $$;

-- What was granted before, by hand or by an older version of this file, is gone.
revoke all on memory_job, kysely_migration from gomemory_reader, gomemory_producer;
grant usage on schema public to gomemory_reader, gomemory_producer;

-- The service (`serve`): reads statuses, and at its start whether the schema is the one that it knows.
grant select on memory_job, kysely_migration to gomemory_reader;

-- Producers: the four statements of the README, and no column more than these need. When a job was created, and when it
-- changed, is the database's to say.
grant select (req_id, status, created_at) on memory_job to gomemory_producer;
grant insert (req_id, status, error) on memory_job to gomemory_producer;
grant update (status, error) on memory_job to gomemory_producer;

-- Only for DATABASE_READ_URL, and not needed: with it, standbys are used again at once after a failover.
-- grant pg_read_all_stats to gomemory_reader;

-- Before PostgreSQL 15, everybody may make tables in schema public unless this is run.
-- revoke create on schema public from public;
