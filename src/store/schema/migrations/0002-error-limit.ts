import { type QueryExecutorProvider, sql } from "kysely";

/**
 * Cuts an error text to 16,384 characters when it is written. `create trigger` takes SHARE ROW EXCLUSIVE: reads go on,
 * and rows that are there stay as they are.
 */
export async function up(db: QueryExecutorProvider): Promise<void> {
  // SQL_ASCII counts bytes, and stores whatever clients send, usually UTF-8: there the cut goes back to the first byte of
  // a character, of which the bytes that follow, three at most, are between 128 and 191.
  await sql`
    create or replace function memory_job_cut_error() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
    declare
      kept integer := 16384;
    begin
      if getdatabaseencoding() = 'SQL_ASCII' then
        while kept > 16381 and ascii(substr(new.error, kept + 1, 1)) between 128 and 191 loop
          kept := kept - 1;
        end loop;
      end if;
      new.error := left(new.error, kept);
      return new;
    end $$`.execute(db);

  await sql`
    create or replace trigger memory_job_cut_error before insert or update on memory_job
    for each row when (length(new.error) > 16384) execute function memory_job_cut_error()`.execute(db);
}
