import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import { createStatusStore } from "../../src/store/reads/status-store.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { protocols, technicalIssues } from "../support/protocols.ts";
import { insertJob } from "../support/rows.ts";
import { callWithin, getStatus, openTestConnections } from "../support/store.ts";

/** The answer for a row that cannot be read: trying again is of no use. */
function unreadable(isRest: true | undefined) {
  return isRest
    ? { code: 500, reason: "STATUS_UNREADABLE", more: technicalIssues }
    : { code: "DATA_LOSS", reason: "STATUS_UNREADABLE", more: "ErrorInfo" };
}

/** Asks for all of them at once. @returns the reasons, or the statuses. */
function getAll(app: TestApp, ids: readonly string[]): Promise<(string | null)[]> {
  return Promise.all(ids.map((id) => getStatus(app.url, id)));
}

describe("a row that cannot be decoded, in a database in SQL_ASCII", () => {
  let database: TestDatabase;
  let app: TestApp;
  let bad: string;

  beforeAll(async () => {
    database = await createDatabase({ encoding: "SQL_ASCII" });
    bad = randomUUID();
    const insert = "insert into memory_job (req_id, status, error) values";
    await database.pool.query(`${insert} ('${bad}', 'failure', E'Z\\xfcrich')`);
    app = await startTestApp({ DATABASE_URL: database.url, BATCH_FLUSH_AT: "256" });
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  test("fails the calls for its own id alone, though others share its statement", async () => {
    const good = await Promise.all(
      Array.from({ length: 60 }, () => insertJob(database.db, { status: "success" })),
    );
    for (let n = 0; n < 5; n++) {
      const answers = await getAll(app, [...good.slice(0, 30), bad, bad, ...good.slice(30)]);
      expect(answers.filter((answer) => answer === "success")).toHaveLength(good.length);
      expect(answers.filter((answer) => answer === "STATUS_UNREADABLE")).toHaveLength(2);
    }
    expect(JSON.stringify(app.logs)).not.toContain("rich");
    expect(JSON.stringify(app.logs)).not.toContain("the database is gone");
  });

  test.for(protocols)("is STATUS_UNREADABLE: $name", async ({ open, isRest }) => {
    const client = open(app.url);
    expect(await client.ask(bad)).toEqual(unreadable(isRest));
    client.close();
  });
});

describe("a row that the contract does not allow, in a table that migrate did not make", () => {
  let database: TestDatabase;
  let app: TestApp;
  const rows = [
    { name: "fractional seconds", values: "'success', null, now() - interval '1.5 seconds'" },
    { name: "no status", values: "null, null, now()" },
    { name: "another status", values: "'constructor', null, now()" },
    { name: "the year 10000", values: "'success', null, '10000-01-01T00:00:00Z'" },
    { name: "no end of time", values: "'success', null, 'infinity'" },
    { name: "an error without a failure", values: "'success', 'it broke', now()" },
    { name: "a failure without an error", values: "'failure', null, now()" },
  ].map((row) => ({ ...row, reqId: randomUUID() }));

  beforeAll(async () => {
    database = await createDatabase();
    await database.pool.query(
      "alter table memory_job rename to old; " +
        "create table memory_job (req_id uuid, status text, error text, created_at timestamptz)",
    );
    for (const { reqId, values } of rows) {
      await database.pool.query(
        `insert into memory_job values ('${reqId}', ${values.replaceAll("now()", "date_trunc('second', now())")})`,
      );
    }
    app = await startTestApp({ DATABASE_URL: database.url });
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  describe.for(rows)("$name", ({ reqId }) => {
    test.for(protocols)("is STATUS_UNREADABLE: $name", async ({ open, isRest }) => {
      const client = open(app.url);
      expect(await client.ask(reqId)).toEqual(unreadable(isRest));
      client.close();
    });
  });

  test("fails no other call, and is described in the log", async () => {
    const good = randomUUID();
    await database.pool.query(
      `insert into memory_job values ('${good}', 'success', null, date_trunc('second', now()))`,
    );
    const answers = await getAll(app, [good, ...rows.map(({ reqId }) => reqId), good]);
    expect(answers).toEqual(["success", ...rows.map(() => "STATUS_UNREADABLE"), "success"]);
    expect(JSON.stringify(app.logs)).toContain(
      "the row breaks the contract: its created_at is not a time in whole seconds",
    );
  });
});

describe("a statement that fails for all of its ids", () => {
  let database: TestDatabase;
  let ids: ReqId[];

  beforeAll(async () => {
    database = await createDatabase();
    ids = await Promise.all(
      Array.from({ length: 100 }, async () => parseReqId(await insertJob(database.db))),
    );
    await database.pool.query(`
      create function broken(code text) returns text language plpgsql as
        $$ begin raise exception 'broken' using errcode = code; end $$;
      alter table memory_job rename to job;
      create table failing (code text);
      create view memory_job as select req_id, broken(code) as status, error, created_at from job, failing`);
  });

  afterAll(() => database[Symbol.asyncDispose]());

  const cases = [
    { code: "58030", name: "a server with an I/O error", singles: 4 },
    { code: "53200", name: "a plain server without memory", singles: 0 },
    { code: "53300", name: "a plain server without connections", singles: 0 },
    { code: "42501", name: "a role without the right", singles: 0 },
  ];
  test.for(cases)("is followed by $singles statements for one of them: $name", async ({ code, singles }) => {
    await database.pool.query("truncate failing");
    await database.pool.query("insert into failing values ($1)", [code]);
    await using connections = openTestConnections(database.url, 10);
    const statements: number[] = [];
    const store = createStatusStore(connections, {
      flushAt: 256,
      onStatement: (ids) => statements.push(ids),
    });
    const results = await Promise.allSettled(ids.map((id) => store.find(id, callWithin())));
    for (const result of results) {
      expect(result).toMatchObject({ status: "rejected", reason: { reason: "DATASTORE_UNAVAILABLE" } });
    }
    expect(statements).toEqual([ids.length, ...Array(singles).fill(1)]);
  });
});
