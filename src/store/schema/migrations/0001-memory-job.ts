import { type Kysely, sql } from "kysely";

/** The table that producers write in any language, and the trigger with which it guards itself. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table memory_job (
      req_id     uuid primary key,
      status     text not null
                 constraint memory_job_status
                 check (status in ('pending', 'processing', 'success', 'failure')),
      error      text,
      created_at timestamptz(0) not null default date_trunc('second', now())
                 -- What RFC 3339 and google.protobuf.Timestamp can say.
                 constraint memory_job_created_at
                 check (created_at between '0001-01-01T00:00:00Z' and '9999-12-31T23:59:59Z'),
      updated_at timestamptz not null default now(),
      constraint memory_job_error
                 check ((status = 'failure') = (error is not null))
    )`.execute(db);

  // A job is submitted again by moving it to pending, which begins its 24 hours anew.
  await sql`
    create function memory_job_guard() returns trigger language plpgsql as $$
    declare
      expired   constant boolean := old.created_at <= now() - interval '24 hours';
      submitted constant boolean := new.status = 'pending' and (old.status = 'failure' or expired);
    begin
      if new.req_id <> old.req_id then
        raise exception 'memory_job %: req_id cannot change', old.req_id
          using errcode = 'check_violation', constraint = 'memory_job_guard', table = 'memory_job';
      end if;
      if submitted then
        new.created_at := date_trunc('second', now());
      elsif new.status = 'pending' or old.status not in ('pending', 'processing') then
        raise exception 'memory_job %: cannot move from % to %', old.req_id, old.status, new.status
          using errcode = 'check_violation', constraint = 'memory_job_guard', table = 'memory_job';
      else
        new.created_at := old.created_at;
      end if;
      new.updated_at := now();
      return new;
    end $$`.execute(db);

  await sql`
    create trigger memory_job_guard before update on memory_job
    for each row execute function memory_job_guard()`.execute(db);
}
