import pg from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { migrate } from "../../src/store/schema/migrate.ts";
import { migrations } from "../../src/store/schema/migrations/migrations.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { insertJob, insertPending } from "../support/rows.ts";
import { openSession } from "../support/schemas.ts";

const name = "0004-created-at-index";
const before = migrations.filter((migration) => migration.name < name);
const upToIndex = migrations.filter((migration) => migration.name <= name);
const build = "create index concurrently memory_job_created_at on memory_job (created_at)";

let database: TestDatabase;

/** A database that has all migrations before this one. */
beforeEach(async () => {
  database = await createDatabase({ migrated: false });
  await migrate(database.db, { migrations: before });
});

afterEach(() => database[Symbol.asyncDispose]());

async function connect(statement?: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: database.url });
  client.on("error", () => {});
  await client.connect();
  if (statement !== undefined) await client.query(statement);
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

async function indexes(of = "memory_job") {
  const { rows } = await database.pool.query<{ oid: number; name: string; valid: boolean }>(
    `select indexrelid as oid, indexrelid::regclass::text as name, indisvalid as valid
     from pg_index where indrelid = $1::regclass and not indisprimary`,
    [of],
  );
  return rows;
}

/** Waits until a build of the index waits for other transactions. @returns its process id. */
async function buildWaits(): Promise<number> {
  const waiting = `
    select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
      and query ~ 'create index concurrently' and pid <> pg_backend_pid()`;
  await expect.poll(async () => (await database.pool.query(waiting)).rowCount, { interval: 5 }).toBe(1);
  return (await database.pool.query<{ pid: number }>(waiting)).rows[0]?.pid as number;
}

const migrateIndex = (options: { maxWait?: number } = {}) =>
  migrate(database.db, { migrations: upToIndex, ...options });
const ran = { ran: [name], unknown: [] };
const built = [{ name: "memory_job_created_at", valid: true }];

test("stops no reader and no writer, though transactions of both are open", async () => {
  const reqId = await insertJob(database.db);
  await using writer = await connect(
    "begin; insert into memory_job (req_id, status) values (gen_random_uuid(), 'pending')",
  );
  await using reader = await connect("begin isolation level repeatable read; select from memory_job");
  const migrating = migrateIndex();
  await buildWaits();
  // Each of these would wait for the migration, which waits for the writer.
  await database.pool.query("select from memory_job where req_id = $1", [reqId]);
  await database.pool.query("update memory_job set status = 'success' where req_id = $1", [reqId]);
  await insertPending(database.db, 10);
  await database.pool.query("delete from memory_job where req_id = $1", [reqId]);
  await reader.query("select from memory_job");
  await writer.query("update memory_job set status = 'processing'; commit");
  await reader.query("commit");
  expect(await migrating).toEqual(ran);
  expect(await indexes()).toMatchObject(built);
});

test("what an operator has built concurrently before is kept", async () => {
  await database.pool.query(build);
  const found = await indexes();
  expect(await migrateIndex()).toEqual(ran);
  expect(await indexes()).toEqual(found);
});

test("a build that is canceled is a SchemaError: a statement_timeout would end each attempt", async () => {
  await using writer = await connect(
    "begin; insert into memory_job (req_id, status) values (gen_random_uuid(), 'pending')",
  );
  const refused = expect(migrateIndex()).rejects.toMatchObject({
    name: "SchemaError",
    message: expect.stringContaining("statement_timeout"),
  });
  await database.pool.query("select pg_cancel_backend($1)", [await buildWaits()]);
  await refused;
  await writer.query("commit");
  expect(await migrateIndex()).toEqual(ran);
  expect(await indexes()).toMatchObject(built);
});

test("in a schema with a name to be quoted", async () => {
  await database.pool.query('create schema "Quoted ""Schema"');
  await using session = openSession(database.url, '-c search_path="Quoted\\ ""Schema"');
  await migrate(session.db);
  expect(await indexes('"Quoted ""Schema".memory_job')).toMatchObject([
    { name: '"Quoted ""Schema".memory_job_created_at', valid: true },
  ]);
  expect((await session.pool.query("select purged from memory_job_purge()")).rows).toEqual([{ purged: 0 }]);
});

describe("an index that is not valid", () => {
  test("is what remains of a build that failed: it is built anew", async () => {
    await using writer = await connect("begin; lock table memory_job in row exclusive mode");
    await using operator = await connect();
    const failed = expect(operator.query(build)).rejects.toMatchObject({ code: "57014" });
    await database.pool.query("select pg_cancel_backend($1)", [await buildWaits()]);
    await failed;
    await writer.query("commit");
    const remains = await indexes();
    expect(remains).toMatchObject([{ name: "memory_job_created_at", valid: false }]);
    expect(await migrateIndex()).toEqual(ran);
    expect(await indexes()).toMatchObject(built);
    expect(await indexes()).not.toMatchObject([{ oid: remains[0]?.oid }]);
  });

  test("so is what a migration left whose backend was killed", async () => {
    await using writer = await connect("begin; lock table memory_job in row exclusive mode");
    await using session = openSession(database.url);
    session.pool.on("connect", (client) => client.on("error", () => {}));
    const killed = expect(migrate(session.db, { migrations: upToIndex })).rejects.toMatchObject({
      code: "57P01",
    });
    await database.pool.query("select pg_terminate_backend($1)", [await buildWaits()]);
    await killed;
    await writer.query("commit");
    expect(await indexes()).toMatchObject([{ valid: false }]);
    expect(await migrateIndex()).toEqual(ran);
    expect(await indexes()).toMatchObject(built);
  });

  test("is not dropped while an operator builds it: the migration names the process, and keeps the index later", async () => {
    await using writer = await connect("begin; lock table memory_job in row exclusive mode");
    await using operator = await connect();
    const building = operator.query(build);
    const pid = await buildWaits();
    const found = await indexes();
    expect(found).toMatchObject([{ valid: false }]);
    await expect(migrateIndex({ maxWait: 1 })).rejects.toThrow(
      new RegExp(
        `^migration ${name} could not get its lock .* ${pid} \\(role \\w+, active.*wait until that has ended`,
      ),
    );
    expect(await indexes()).toEqual(found);
    const migrating = migrateIndex();
    await writer.query("commit");
    await building;
    expect(await migrating).toEqual(ran);
    expect(await indexes()).toEqual([{ ...found[0], valid: true }]);
  });
});

describe("an index of that name that is another one is a SchemaError, and stays", () => {
  test.for([
    "create index memory_job_created_at on memory_job (status)",
    "create index memory_job_created_at on memory_job (created_at, status)",
    "create index memory_job_created_at on memory_job (created_at) where status = 'failure'",
    "create index memory_job_created_at on memory_job using hash (created_at)",
    "create index memory_job_created_at on memory_job using brin (created_at)",
    "create index memory_job_created_at on memory_job (date_part('year', created_at at time zone 'UTC'))",
    "create unique index memory_job_created_at on memory_job (created_at)",
    "create table other (created_at timestamptz); create index memory_job_created_at on other (created_at)",
    "create table memory_job_created_at ()",
  ])("%s", async (statement) => {
    await database.pool.query(statement);
    const found = await indexes();
    await expect(migrateIndex()).rejects.toMatchObject({
      name: "SchemaError",
      message: expect.stringMatching(
        /^memory_job_created_at in schema public is not the index that is needed .*: rename or drop it, and migrate again$/,
      ),
    });
    expect(await indexes()).toEqual(found);
  });
});

describe("a partitioned table", () => {
  beforeEach(async () => {
    await database.pool.query(`
      drop table memory_job;
      create extension postgres_fdw;
      create server elsewhere foreign data wrapper postgres_fdw;
      create table memory_job (req_id uuid not null, status text not null, error text,
        created_at timestamptz(0) not null default date_trunc('second', now()), updated_at timestamptz not null default now())
        partition by hash (req_id);
      create table part_0 partition of memory_job for values with (modulus 3, remainder 0);
      create table part_1 partition of memory_job for values with (modulus 3, remainder 1) partition by hash (req_id);
      create table part_1_all partition of part_1 for values with (modulus 1, remainder 0);
      create foreign table part_2 partition of memory_job for values with (modulus 3, remainder 2) server elsewhere`);
  });

  const leaves = async () => [...(await indexes("part_0")), ...(await indexes("part_1_all"))];

  test("has it on each partition that has rows here, built concurrently", async () => {
    await using writer = await connect("begin; lock table part_1_all in row exclusive mode");
    const migrating = migrateIndex();
    await buildWaits();
    await database.pool.query("begin; lock table memory_job in row exclusive mode nowait; rollback");
    await writer.query("commit");
    expect(await migrating).toEqual(ran);
    expect(await indexes()).toMatchObject(built);
    expect(await leaves()).toMatchObject([
      { name: "part_0_created_at_idx", valid: true },
      { name: "part_1_all_created_at_idx", valid: true },
    ]);
    expect(await migrateIndex()).toEqual({ ran: [], unknown: [] });
  });

  test("keeps what is built of it, builds anew what is not valid, and does not wait for a writer at the end", async () => {
    await database.pool.query("create index concurrently theirs on part_0 (created_at)");
    const [theirs] = await indexes("part_0");
    await using writer = await connect("begin; lock table part_1_all in row exclusive mode");
    await using operator = await connect();
    const failed = expect(
      operator.query("create index concurrently remains on part_1_all (created_at)"),
    ).rejects.toMatchObject({ code: "57014" });
    await database.pool.query("select pg_cancel_backend($1)", [await buildWaits()]);
    await failed;
    await writer.query("commit; begin; lock table part_0 in row exclusive mode");
    await expect(migrateIndex({ maxWait: 1 })).rejects.toThrow(/could not get its lock/);
    await writer.query("commit");
    expect(await migrateIndex()).toEqual(ran);
    expect(await indexes()).toMatchObject(built);
    expect(await leaves()).toMatchObject([theirs ?? {}, { name: "part_1_all_created_at_idx", valid: true }]);
  });

  test("an index on the table alone is a SchemaError", async () => {
    await database.pool.query("create index memory_job_created_at on only memory_job (created_at)");
    await expect(migrateIndex()).rejects.toMatchObject({
      name: "SchemaError",
      message: expect.stringContaining("alter index … attach partition"),
    });
  });
});
