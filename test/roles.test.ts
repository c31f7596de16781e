import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createDatabase, type TestDatabase } from "./support/database.ts";
import { createLogin, type Login, rolesSql } from "./support/roles.ts";
import { insertJob } from "./support/rows.ts";

// That the service answers as the reader, and that the ledger and the README's statements work as the producer, is in
// outcomes.test.ts, job-ledger.test.ts and readme.test.ts, which log in as these.

let database: TestDatabase;
let reader: Login;
let producer: Login;
let reqId: string;

beforeAll(async () => {
  database = await createDatabase();
  reader = await createLogin(database, "gomemory_reader");
  producer = await createLogin(database, "gomemory_producer");
  reqId = await insertJob(database.db);
});

afterAll(async () => {
  await reader[Symbol.asyncDispose]();
  await producer[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

/** SQLSTATE: insufficient_privilege. */
const denied = { code: "42501" };

/** What neither may do. */
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
  "insert into kysely_migration (name, timestamp) values ('9999-later', '')",
  "delete from kysely_migration",
  "copy memory_job to program 'true'",
];

test.for([
  ...forbidden,
  "insert into memory_job (req_id, status) values (gen_random_uuid(), 'pending')",
  "update memory_job set status = 'success'",
  "select from memory_job for update",
])("the reader may not: %s", (statement) =>
  expect(reader.pool.query(statement)).rejects.toMatchObject(denied));

test.for([
  ...forbidden,
  "select * from memory_job",
  "select error from memory_job",
  "select from kysely_migration",
])("the producer may not: %s", (statement) =>
  expect(producer.pool.query(statement)).rejects.toMatchObject(denied));

test("the file may be run again, and takes back what it does not name", async () => {
  await database.pool.query("grant delete on memory_job to gomemory_reader");
  await database.pool.query(rolesSql);
  await expect(reader.pool.query("delete from memory_job")).rejects.toMatchObject(denied);
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
