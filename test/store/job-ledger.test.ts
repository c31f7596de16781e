import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Kysely, PostgresDialect, sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseReqId } from "../../src/status/req-id.ts";
import type { JobState } from "../../src/status/status.ts";
import { createJobLedger, type JobLedger } from "../../src/store/jobs/job-ledger.ts";
import type { Tables } from "../../src/store/schema/tables.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createLogin, type Login } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";

let database: TestDatabase;
let producer: Login;
let ledger: JobLedger;

beforeAll(async () => {
  database = await createDatabase();
  producer = await createLogin(database, "gomemory_producer");
  ledger = createJobLedger(producer.db);
});

afterAll(async () => {
  await producer[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const day = 24 * 3600;
const newId = () => parseReqId(randomUUID());

async function read(reqId: string) {
  return await database.db
    .selectFrom("memory_job")
    .select(["status", "error", "created_at", sql<number>`extract(epoch from now() - created_at)`.as("age")])
    .where("req_id", "=", reqId)
    .executeTakeFirst();
}

describe("create", () => {
  test("a new job is pending, from now", async () => {
    const reqId = newId();
    expect(await ledger.create(reqId)).toBe(true);
    const row = await read(reqId);
    expect(row).toMatchObject({ status: "pending", error: null });
    expect(Number(row?.age)).toBeLessThan(10);
    expect(row?.created_at.getMilliseconds()).toBe(0);
  });

  test.for([
    "pending",
    "processing",
    "success",
  ] as const)("a live %s job is a duplicate: nothing changes", async (status) => {
    const reqId = parseReqId(await insertJob(database.db, { status, age: 3600 }));
    const before = await read(reqId);
    expect(await ledger.create(reqId)).toBe(false);
    expect(await read(reqId)).toMatchObject({ status, created_at: before?.created_at });
  });

  test("a failed job is submitted again: its error is cleared, its 24 hours begin anew", async () => {
    const reqId = parseReqId(
      await insertJob(database.db, { status: "failure", error: "it broke", age: 3600 }),
    );
    expect(await ledger.create(reqId)).toBe(true);
    const row = await read(reqId);
    expect(row).toMatchObject({ status: "pending", error: null });
    expect(Number(row?.age)).toBeLessThan(10);
  });

  test.for([
    "pending",
    "processing",
    "success",
    "failure",
  ] as const)("an expired %s job is created anew under the same id", async (status) => {
    const error = status === "failure" ? "it broke" : null;
    const reqId = parseReqId(await insertJob(database.db, { status, error, age: day + 1 }));
    expect(await ledger.create(reqId)).toBe(true);
    const row = await read(reqId);
    expect(row).toMatchObject({ status: "pending", error: null });
    expect(Number(row?.age)).toBeLessThan(10);
  });

  test("of many at once, one creates the job", async () => {
    const reqId = newId();
    const created = await Promise.all(Array.from({ length: 10 }, () => ledger.create(reqId)));
    expect(created.filter(Boolean)).toHaveLength(1);
  });
});

describe("a job expires 24 hours after its second, by the guard, too", () => {
  test.for([
    { name: "one second before", age: day - 1, submitted: false },
    { name: "then", age: day, submitted: true },
    { name: "one second after", age: day + 1, submitted: true },
  ])("$name", async ({ age, submitted }) => {
    // In a transaction, now() stands still.
    await database.db.transaction().execute(async (transaction) => {
      const reqId = parseReqId(await insertJob(transaction, { status: "success", age }));
      const resubmit = (expired: string) =>
        sql`savepoint before_it`.execute(transaction).then(() =>
          sql`
              insert into memory_job (req_id, status) values (${reqId}, 'pending')
              on conflict (req_id) do update set status = 'pending', error = null
              where memory_job.status = 'failure' or ${sql.raw(expired)}`.execute(transaction),
        );
      // As it was written before, by the clock.
      const { numAffectedRows } = await resubmit("memory_job.created_at <= now() - interval '24 hours'");
      expect(numAffectedRows).toBe(submitted ? 1n : 0n);
      await sql`rollback to before_it`.execute(transaction);
      expect(await createJobLedger(transaction).create(reqId)).toBe(submitted);
      await sql`rollback to before_it`.execute(transaction);
      const again = resubmit("true");
      if (submitted) await again;
      else await expect(again).rejects.toMatchObject({ constraint: "memory_job_guard" });
      await sql`rollback to before_it`.execute(transaction);
    });
  });

  test("a producer that sets created_at itself cannot expire a live job", async () => {
    const reqId = await insertJob(database.db, { status: "success" });
    const submit = sql`
      insert into memory_job (req_id, status, created_at) values (${reqId}, 'pending', now() + interval '2 days')
      on conflict (req_id) do update set status = 'pending', error = null
      where excluded.created_at - memory_job.created_at >= interval '24 hours'`.execute(database.db);
    await expect(submit).rejects.toMatchObject({ code: "23514", constraint: "memory_job_guard" });
  });
});

test("what decides whether a job is submitted calls no function: Citus takes none that is not immutable", async () => {
  const statements: string[] = [];
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool: producer.pool }),
    log: ({ query }) => void statements.push(query.sql),
  });
  await createJobLedger(db).create(newId());
  const [submit = ""] = statements;
  const page = await readFile(new URL("../../docs/use/producers.md", import.meta.url), "utf8");
  const [, documented = ""] = /```sql\n(insert .*?)```/s.exec(page) ?? [];
  for (const statement of [submit, documented]) {
    const { rows } = await database.pool.query(`explain (generic_plan, verbose) ${statement}`);
    const filter = rows.map((row) => row["QUERY PLAN"]).find((line) => line.includes("Conflict Filter"));
    expect(filter).toMatch(/memory_job\.created_at/);
    expect(filter).not.toMatch(/\w\(|current_/i);
  }
  const { rows } = await database.pool.query(`
    select provolatile from pg_operator join pg_proc on pg_proc.oid = oprcode
    where oprname = '-' and oprleft = 'timestamptz'::regtype and oprright = 'timestamptz'::regtype
       or oprname = '>=' and oprleft = 'interval'::regtype and oprright = 'interval'::regtype`);
  expect(rows).toEqual([{ provolatile: "i" }, { provolatile: "i" }]);
});

const moves = {
  start: (reqId) => ledger.start(reqId),
  succeed: (reqId) => ledger.succeed(reqId),
  fail: (reqId) => ledger.fail(reqId, "it broke"),
} satisfies Record<string, (reqId: ReturnType<typeof newId>) => Promise<void>>;

const allowed: Record<JobState, Partial<Record<keyof typeof moves, JobState>>> = {
  pending: { start: "processing", succeed: "success", fail: "failure" },
  processing: { start: "processing", succeed: "success", fail: "failure" },
  success: {},
  failure: {},
};

describe.for(Object.keys(allowed) as JobState[])("a %s job", (status) => {
  test.for(Object.keys(moves) as (keyof typeof moves)[])("%s", async (move) => {
    const error = status === "failure" ? "it broke first" : null;
    const reqId = parseReqId(await insertJob(database.db, { status, error, age: 60 }));
    const before = await read(reqId);
    const target = allowed[status][move];
    if (target === undefined) {
      await expect(moves[move](reqId)).rejects.toMatchObject({ reason: "IMPOSSIBLE_MOVE" });
      expect(await read(reqId)).toMatchObject({ status, error });
    } else {
      await moves[move](reqId);
      const after = await read(reqId);
      expect(after).toMatchObject({ status: target, error: target === "failure" ? "it broke" : null });
      expect(after?.created_at).toEqual(before?.created_at);
    }
  });
});

test.for(Object.keys(moves) as (keyof typeof moves)[])("%s of a job that is not there", async (move) => {
  await expect(moves[move](newId())).rejects.toMatchObject({ reason: "JOB_NOT_FOUND" });
});

test("an error is kept to the letter, save what PostgreSQL cannot store", async () => {
  const reqId = parseReqId(await insertJob(database.db));
  await ledger.fail(reqId, `"quoted"\n\ttabbed 🧠 NUL \0 lone \ud800!`);
  expect(await read(reqId)).toMatchObject({ error: `"quoted"\n\ttabbed 🧠 NUL \uFFFD lone \uFFFD!` });
});

describe("the database itself refuses", () => {
  test.for([
    { name: "an unknown status", set: "status = 'done'", says: "memory_job_status" },
    { name: "an error without failure", set: "error = 'it broke'", says: "memory_job_error" },
    { name: "failure without an error", set: "status = 'failure'", says: "memory_job_error" },
    { name: "back to pending", set: "status = 'pending'", says: "cannot move from processing to pending" },
    { name: "another id", set: `req_id = '${randomUUID()}'`, says: "req_id cannot change" },
  ])("$name", async ({ set, says }) => {
    const reqId = await insertJob(database.db, { status: "processing" });
    const update = sql`update memory_job set ${sql.raw(set)} where req_id = ${reqId}`.execute(database.db);
    await expect(update).rejects.toThrow(says);
  });

  test("a row from beyond the calendar of RFC 3339", async () => {
    const insert = sql`
      insert into memory_job (req_id, status, created_at) values (${randomUUID()}, 'pending', 'infinity')`;
    await expect(insert.execute(database.db)).rejects.toThrow("memory_job_created_at");
  });

  test("to make a job younger or older than it is", async () => {
    const reqId = await insertJob(database.db, { age: 3600 });
    const before = await read(reqId);
    await sql`
      update memory_job set status = 'processing', created_at = now() where req_id = ${reqId}`.execute(
      database.db,
    );
    expect((await read(reqId))?.created_at).toEqual(before?.created_at);
  });
});
