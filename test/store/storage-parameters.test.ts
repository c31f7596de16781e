import pg from "pg";
import { describe, expect, test } from "vitest";
import { migrate } from "../../src/store/schema/migrate.ts";
import { up } from "../../src/store/schema/migrations/0006-storage-parameters.ts";
import { migrations } from "../../src/store/schema/migrations/migrations.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { insertJob } from "../support/rows.ts";

// Migration 0006 sets how memory_job is stored and vacuumed.

const set = ["fillfactor=90", "vacuum_truncate=off"];
const before = migrations.filter(({ name }) => name < "0006");

async function parameters({ pool }: TestDatabase, table = "memory_job"): Promise<string[][]> {
  const { rows } = await pool.query(
    `select coalesce(c.reloptions, '{}') as own, coalesce(t.reloptions, '{}') as toast
     from pg_class c left join pg_class t on t.oid = c.reltoastrelid where c.oid = $1::regclass`,
    [table],
  );
  return [rows[0].own.toSorted(), rows[0].toast];
}

test("sets the parameters of the table and of its TOAST table", async () => {
  await using database = await createDatabase();
  expect(await parameters(database)).toEqual([set, ["vacuum_truncate=off"]]);
});

test("keeps what an operator has set, whatever the value", async () => {
  await using database = await createDatabase({ migrated: false });
  await migrate(database.db, { migrations: before });
  await database.pool.query(`
    alter table memory_job set (fillfactor = 100, autovacuum_enabled = off, toast.vacuum_truncate = on)`);
  await migrate(database.db);
  expect(await parameters(database)).toEqual([
    ["autovacuum_enabled=off", "fillfactor=100", "vacuum_truncate=off"],
    ["vacuum_truncate=on"],
  ]);
});

test("partitions get them, and the partitioned table, which has no storage, does not", async () => {
  await using database = await createDatabase({ migrated: false });
  await database.pool.query(`
    create schema "other ""schema";
    create extension postgres_fdw;
    create server elsewhere foreign data wrapper postgres_fdw;
    create table memory_job (req_id uuid not null, error text) partition by hash (req_id);
    create table job_0 partition of memory_job for values with (modulus 3, remainder 0) partition by hash (req_id);
    create table "other ""schema"."job 0-0" partition of job_0 for values with (modulus 1, remainder 0);
    create table job_1 partition of memory_job for values with (modulus 3, remainder 1);
    create foreign table job_2 partition of memory_job for values with (modulus 3, remainder 2) server elsewhere`);
  await database.db.transaction().execute((transaction) => up(transaction));
  expect(await parameters(database, "job_1")).toEqual([set, ["vacuum_truncate=off"]]);
  expect(await parameters(database, `"other ""schema"."job 0-0"`)).toEqual([set, ["vacuum_truncate=off"]]);
  for (const table of ["memory_job", "job_0", "job_2"]) {
    expect(await parameters(database, table)).toEqual([[], []]);
  }
});

describe("while the migration runs", () => {
  test("open transactions that have read and written do not block it, and others read and write beside it", async () => {
    await using database = await createDatabase({ migrated: false });
    await migrate(database.db, { migrations: before });
    const reqId = await insertJob(database.db);
    await using earlier = await open(database);
    await earlier.query("begin; select from memory_job; update memory_job set status = 'processing'");
    await database.db.transaction().execute(async (transaction) => {
      await up(transaction);
      await using later = await open(database);
      await later.query("set lock_timeout = '1ms'");
      const { rowCount } = await later.query("select from memory_job where req_id = $1", [reqId]);
      expect(rowCount).toBe(1);
      await later.query("insert into memory_job (req_id, status) values (gen_random_uuid(), 'pending')");
      await later.query("delete from memory_job where req_id <> $1", [reqId]);
    });
    await earlier.query("rollback");
    expect(await parameters(database)).toEqual([set, ["vacuum_truncate=off"]]);
  });
});

describe("vacuum leaves empty pages at the end of the table to later rows", () => {
  test.for([
    { name: "with the parameters", statement: "", truncates: false },
    {
      name: "unlike PostgreSQL's default",
      statement: "alter table memory_job reset (vacuum_truncate, toast.vacuum_truncate)",
      truncates: true,
    },
  ])("$name", async ({ statement, truncates }) => {
    await using database = await createDatabase();
    const { pool } = database;
    await pool.query(statement);
    // Random text, which is not compressed and so is stored in the TOAST table.
    await pool.query(`
      insert into memory_job (req_id, status, error)
      select gen_random_uuid(), 'failure', (select string_agg(md5(job || ' ' || part), '') from generate_series(1, 200) part)
      from generate_series(1, 100) job`);
    const filled = await sizes(database);
    await pool.query("delete from memory_job");
    await pool.query("vacuum memory_job");
    const [table, toast] = await sizes(database);
    expect(table === 0).toBe(truncates);
    expect(toast === 0).toBe(truncates);
    if (!truncates) expect([table, toast]).toEqual(filled);
  });
});

/** Bytes of the table and of its TOAST table. */
async function sizes({ pool }: TestDatabase): Promise<number[]> {
  const { rows } = await pool.query(
    `select pg_relation_size(oid)::float8 as own, pg_relation_size(reltoastrelid)::float8 as toast
     from pg_class where oid = 'memory_job'::regclass`,
  );
  return [rows[0].own, rows[0].toast];
}

async function open({ url }: TestDatabase): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}
