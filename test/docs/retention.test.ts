import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { countJobs, startOtherPurger } from "../support/purging.ts";
import { createLogin, type Login } from "../support/roles.ts";
import { insertAged } from "../support/rows.ts";
import { page } from "./pages.ts";

// The job of docs/operate/retention.md for pg_cron, in plain SQL: a stand-in for cron.schedule notes its command, which is run
// as pg_cron runs it: by itself, outside a transaction.

const hour = 3_600;

let database: TestDatabase;
let login: Login;
let command = "";

beforeEach(async () => {
  database = await createDatabase();
  await insertAged(database.db, 10_001, 26 * hour);
  await insertAged(database.db, 3, 20 * hour);
  login = await createLogin(database, "gomemory_purger");
  await database.pool.query(`
    create schema cron;
    create function cron.schedule(job_name text, schedule text, command text) returns text language sql as 'select $3'`);
  const [block] = page("docs/operate/retention.md").blocks.filter(({ code }) =>
    code.includes("cron.schedule"),
  );
  const { rows } = await database.pool.query<{ schedule: string }>(block?.code ?? "");
  command = rows[0]?.schedule ?? "";
});
afterEach(async () => {
  await login[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

describe("the job for pg_cron", () => {
  test("deletes what is older than 25 hours, as gomemory_purger", async () => {
    await login.pool.query(command);
    expect(await countJobs(database)).toBe(3);
  });

  test("commits each batch", async () => {
    await database.pool.query(`
      create table deleted (by xid8, jobs integer);
      create function note() returns trigger language plpgsql as $$
      begin
        insert into public.deleted select pg_current_xact_id(), count(*) from gone;
        return null;
      end $$;
      create trigger note after delete on memory_job referencing old table as gone execute function note()`);
    await login.pool.query(command);
    const { rows } = await database.pool.query(
      "select sum(jobs)::integer as jobs from deleted group by by order by by",
    );
    expect(rows).toEqual([{ jobs: 5_000 }, { jobs: 5_000 }, { jobs: 1 }]);
  });

  test("leaves the table to another purger", async () => {
    await using _ = await startOtherPurger(database);
    await login.pool.query(command);
    expect(await countJobs(database)).toBe(10_004);
  });
});
