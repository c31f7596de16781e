import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createLogin, type Login } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";
import { page } from "./pages.ts";

const [submit = "", begin = "", succeed = "", fail = "", ...more] = page("docs/use/producers.md")
  .blocks.filter(({ language }) => language === "sql")
  .map(({ code }) => code);
let database: TestDatabase;
let producer: Login;

beforeAll(async () => {
  database = await createDatabase();
  producer = await createLogin(database, "gomemory_producer");
});

afterAll(async () => {
  await producer[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

async function statusOf(reqId: string) {
  const { rows } = await database.pool.query("select status, error from memory_job where req_id = $1", [
    reqId,
  ]);
  return rows[0];
}

test("the statements for producers are four", () => expect(more).toEqual([]));

test("a job's life: submitted, begun, failed, submitted again, begun, done", async () => {
  const reqId = randomUUID();
  const run = async (statement: string, ...values: string[]) =>
    (await producer.pool.query(statement, [reqId, ...values])).rowCount;
  expect(await run(submit)).toBe(1);
  expect(await statusOf(reqId)).toEqual({ status: "pending", error: null });
  expect(await run(submit)).toBe(0);
  expect(await run(begin)).toBe(1);
  expect(await statusOf(reqId)).toEqual({ status: "processing", error: null });
  expect(await run(submit)).toBe(0);
  expect(await run(fail, "it broke")).toBe(1);
  expect(await statusOf(reqId)).toEqual({ status: "failure", error: "it broke" });
  expect(await run(submit)).toBe(1);
  expect(await statusOf(reqId)).toEqual({ status: "pending", error: null });
  await run(begin);
  expect(await run(succeed)).toBe(1);
  expect(await statusOf(reqId)).toEqual({ status: "success", error: null });
  expect(await run(submit)).toBe(0);
  await expect(run(fail, "too late")).rejects.toMatchObject({
    code: "23514",
    constraint: "memory_job_guard",
  });
});

test("an expired job is submitted anew", async () => {
  const reqId = await insertJob(database.db, { status: "success", age: 24 * 3600 + 1 });
  expect((await producer.pool.query(submit, [reqId])).rowCount).toBe(1);
  expect(await statusOf(reqId)).toEqual({ status: "pending", error: null });
});

test("a job that does not exist is not begun", async () => {
  expect((await producer.pool.query(begin, [randomUUID()])).rowCount).toBe(0);
});
