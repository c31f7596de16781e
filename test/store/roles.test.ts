import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { migrate } from "../../src/store/schema/migrate.ts";
import { checkSchema } from "../../src/store/schema/schema.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { migrateAsPrevious, startsAsPrevious } from "../support/previous-version.ts";
import { createLogin, type Login, rolesSql } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";
import { createUnprivilegedLogin, openSession } from "../support/schemas.ts";

// That purging works as the purger is in retention.test.ts; that the service answers as the reader, and that the ledger and the statements of docs/use/producers.md work as the producer, is in
// outcomes.test.ts, job-ledger.test.ts and readme.test.ts, which log in as these.

let database: TestDatabase;
let reader: Login;
let producer: Login;
let purger: Login;
let reqId: string;

beforeAll(async () => {
  database = await createDatabase();
  reader = await createLogin(database, "gomemory_reader");
  producer = await createLogin(database, "gomemory_producer");
  purger = await createLogin(database, "gomemory_purger");
  reqId = await insertJob(database.db);
});

afterAll(async () => {
  await reader[Symbol.asyncDispose]();
  await producer[Symbol.asyncDispose]();
  await purger[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

/** SQLSTATE: insufficient_privilege. */
const denied = { code: "42501" };

/** What none of them may do. */
const forbidden = [
  "delete from memory_job",
  "truncate memory_job",
  "drop table memory_job",
  "alter table memory_job add column more text",
  "alter table memory_job disable trigger all",
  "drop trigger memory_job_guard on memory_job",
  "create or replace function memory_job_guard() returns trigger language plpgsql as $$ begin return new; end $$",
  "create trigger another before update on memory_job for each row execute function memory_job_guard()",
  "create index on memory_job (status)",
  "create table public.more (id int)",
  "do $$ begin lock table memory_job in access exclusive mode; end $$",
  "update memory_job set created_at = now()",
  "update memory_job set req_id = gen_random_uuid()",
  "update memory_job set updated_at = now()",
  "insert into memory_job (req_id, status, created_at) values (gen_random_uuid(), 'pending', now())",
  "insert into memory_job_migration (name) values ('9999-later')",
  "delete from memory_job_migration",
  "copy memory_job to program 'true'",
  "alter function memory_job_purge owner to current_user",
  "create or replace function memory_job_purgeable(interval) returns bigint language sql return 0",
];

/** What the purger alone may do. */
const purging = ["select * from memory_job_purge()", "select * from memory_job_purgeable()"];

test.for([
  ...forbidden,
  ...purging,
  "insert into memory_job (req_id, status) values (gen_random_uuid(), 'pending')",
  "update memory_job set status = 'success'",
  "select from memory_job for update",
])("the reader may not: %s", (statement) =>
  expect(reader.pool.query(statement)).rejects.toMatchObject(denied));

test.for([
  ...forbidden,
  ...purging,
  "select * from memory_job",
  "select error from memory_job",
  "select from memory_job_migration",
])("the producer may not: %s", (statement) =>
  expect(producer.pool.query(statement)).rejects.toMatchObject(denied));

test.for([
  ...forbidden,
  "select from memory_job",
  "select from memory_job_migration",
  "insert into memory_job (req_id, status) values (gen_random_uuid(), 'pending')",
  "update memory_job set status = 'success'",
  "select from memory_job for update",
])("the purger may not: %s", (statement) =>
  expect(purger.pool.query(statement)).rejects.toMatchObject(denied));

test.for(purging)("the purger may: %s", async (statement) => {
  expect((await purger.pool.query(statement)).rowCount).toBe(1);
});

test("a role of none of them may not purge", async () => {
  await using unprivileged = await createUnprivilegedLogin(database);
  for (const statement of purging) {
    await expect(unprivileged.pool.query(statement)).rejects.toMatchObject(denied);
  }
});

test("the file may be run again, and takes back what it does not name", async () => {
  await database.pool.query(`
    grant delete on memory_job to gomemory_reader, gomemory_purger;
    grant execute on function memory_job_purge to public, gomemory_producer`);
  await database.pool.query(rolesSql);
  await expect(reader.pool.query("delete from memory_job")).rejects.toMatchObject(denied);
  await expect(purger.pool.query("delete from memory_job")).rejects.toMatchObject(denied);
  await expect(producer.pool.query("select memory_job_purge()")).rejects.toMatchObject(denied);
  const { rows } = await reader.pool.query("select status from memory_job where req_id = $1", [reqId]);
  expect(rows).toEqual([{ status: "pending" }]);
});

test("several may run it at once", async () => {
  await using other = await createDatabase();
  const runs = [database, other, database, other].map(({ pool }) => pool.query(rolesSql));
  await Promise.all(runs);
  await expect(producer.pool.query("delete from memory_job")).rejects.toMatchObject(denied);
});

test("the guard of the table holds for the producer, too", async () => {
  const done = await insertJob(database.db, { status: "success" });
  const again = producer.pool.query("update memory_job set status = 'pending' where req_id = $1", [done]);
  await expect(again).rejects.toMatchObject({ code: "23514", constraint: "memory_job_guard" });
  const none = producer.pool.query("update memory_job set status = 'success' where req_id = $1", [
    randomUUID(),
  ]);
  expect(await none).toMatchObject({ rowCount: 0 });
});

test("a producer cannot slip functions of its own under the guard", async () => {
  const live = await insertJob(database.db, { status: "success" });
  const { rows } = await producer.pool.query("select current_user as role");
  await database.pool.query(`create schema forged authorization ${rows[0].role}`);
  await producer.pool.query(`
    create function forged.now() returns timestamptz language sql as 'select ''2999-01-01''::timestamptz'`);
  await using forger = openSession(producer.url, "-c search_path=forged,pg_catalog,public");
  const resubmit = forger.pool.query("update memory_job set status = 'pending' where req_id = $1", [live]);
  await expect(resubmit).rejects.toMatchObject({ code: "23514", constraint: "memory_job_guard" });
  await database.pool.query("drop schema forged cascade");
});

test.for(["other", "Quoted Schema"])("the table may be in any schema: %s", async (schema) => {
  await using other = await createDatabase({ migrated: false });
  await other.pool.query(`
    create schema "${schema}";
    alter database ${new URL(other.url).pathname.slice(1)} set search_path = "${schema}", public;
    create table public.memory_job ();
    create table public.memory_job_migration ()`);
  await using session = openSession(other.url);
  await migrate(session.db);
  await using otherReader = await createLogin(session, "gomemory_reader");
  await using otherProducer = await createLogin(session, "gomemory_producer");
  await using otherPurger = await createLogin(session, "gomemory_purger");
  const id = randomUUID();
  const submit = "insert into memory_job (req_id, status) values ($1, 'pending')";
  await otherProducer.pool.query(submit, [id]);
  const { rows } = await otherReader.pool.query("select status from memory_job where req_id = $1", [id]);
  expect(rows).toEqual([{ status: "pending" }]);
  expect((await otherPurger.pool.query("select purged from memory_job_purge()")).rows).toEqual([
    { purged: 0 },
  ]);
  expect(await checkSchema(otherReader.db)).toEqual([]);
  await expect(otherReader.pool.query("select from public.memory_job")).rejects.toMatchObject(denied);
});

test("without the table, its list, or its functions, nothing is granted, and the message tells what to do", async () => {
  await using other = await createDatabase({ migrated: false });
  await expect(other.pool.query(rolesSql)).rejects.toMatchObject({
    message: 'no table memory_job in the schemas of the search_path ("$user", public)',
    hint: expect.stringContaining("npm run migrate"),
  });
  await other.pool.query("create table memory_job ()");
  await expect(other.pool.query(rolesSql)).rejects.toMatchObject({
    message: "no table memory_job_migration beside memory_job in schema public",
  });
  await other.pool.query("create table memory_job_migration ()");
  await expect(other.pool.query(rolesSql)).rejects.toMatchObject({
    message:
      "no function memory_job_purge beside memory_job in schema public: the schema is of an earlier version",
    hint: expect.stringContaining("npm run migrate"),
  });
});

test("on a database of the previous version, that goes on running as the reader", async () => {
  await using other = await createDatabase({ migrated: false });
  await migrateAsPrevious(other.db);
  await other.pool.query("grant select on memory_job, kysely_migration to gomemory_reader");
  await migrate(other.db);
  await using otherReader = await createLogin(other, "gomemory_reader");
  expect(await startsAsPrevious(otherReader.db)).toBe(true);
  expect(await checkSchema(otherReader.db)).toEqual([]);
});

test("where grants on columns do not reach the rows (Citus), the message tells what to do", async () => {
  await using other = await createDatabase();
  // As Citus has it in pg_catalog.
  await other.pool.query(`
    create table pg_dist_partition (logicalrel regclass);
    insert into pg_dist_partition values ('memory_job')`);
  const client = await other.pool.connect();
  const notices: { severity?: string | undefined; hint?: string | undefined }[] = [];
  client.on("notice", (notice) => notices.push(notice));
  await client.query(rolesSql);
  client.release();
  expect(notices.filter(({ severity }) => severity === "WARNING")).toMatchObject([
    { hint: "For producers: grant select, insert, update on memory_job to gomemory_producer;" },
  ]);
});
