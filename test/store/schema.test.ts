import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createLogin, type Login } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";

let database: TestDatabase;

beforeEach(async () => {
  database = await createDatabase();
});

afterEach(() => database[Symbol.asyncDispose]());

const warningsOf = (app: TestApp) =>
  app.logs.filter(({ level }) => level === "warn").map(({ msg }) => String(msg));

async function statusOf(app: TestApp, path: string): Promise<number> {
  return (await fetch(app.url + path)).status;
}

describe("the statement that calls need decides whether the service works with a schema", () => {
  test("a schema that is newer than this version is served, with a warning", async () => {
    await database.pool.query("insert into memory_job_migration (name) values ('9999-of-tomorrow')");
    await database.pool.query("alter table memory_job add column tenant text");
    await using app = await startTestApp({ DATABASE_URL: database.url });
    expect(await statusOf(app, `/get_status/${await insertJob(database.db)}`)).toBe(200);
    expect(warningsOf(app)).toEqual([expect.stringContaining("9999-of-tomorrow")]);
  });

  test("a schema that lacks a migration is served as long as statuses can be read, with a warning", async () => {
    await database.pool.query("delete from memory_job_migration where name >= '0002'");
    await using app = await startTestApp({ DATABASE_URL: database.url });
    expect(await statusOf(app, `/get_status/${await insertJob(database.db)}`)).toBe(200);
    expect(warningsOf(app)).toEqual([expect.stringMatching(/lacks 5 of 6 migrations .*npm run migrate/)]);
  });

  test("an index that is not valid is a warning", async () => {
    await database.pool.query("create index remains on memory_job (status)");
    await database.pool.query(
      "update pg_index set indisvalid = false where indexrelid = 'remains'::regclass",
    );
    await using app = await startTestApp({ DATABASE_URL: database.url });
    expect(await statusOf(app, "/readyz")).toBe(200);
    expect(warningsOf(app)).toEqual([expect.stringMatching(/^the index remains of memory_job is not valid/)]);
  });

  test("a list of migrations that may not be read is a warning", async () => {
    await using login = await createLogin(database, "gomemory_reader");
    await database.pool.query("revoke all on memory_job_migration from gomemory_reader");
    await using app = await startTestApp({ DATABASE_URL: login.url });
    expect(await statusOf(app, "/readyz")).toBe(200);
    expect(warningsOf(app)).toEqual([expect.stringContaining("may not read memory_job_migration")]);
  });

  test("a schema from which statuses cannot be read is no reason to start", async () => {
    await database.pool.query("alter table memory_job rename column error to failure");
    await expect(startTestApp({ DATABASE_URL: database.url })).rejects.toMatchObject({
      name: "SchemaError",
      message: "statuses cannot be read from this schema",
      cause: { code: "42703" },
    });
  });

  test("what a migration makes unreadable while the service runs turns /readyz to 503, until it is mended", async () => {
    await using app = await startTestApp({ DATABASE_URL: database.url });
    expect(await statusOf(app, "/readyz")).toBe(200);
    await database.pool.query("alter table memory_job rename column error to failure");
    await expect.poll(() => statusOf(app, "/readyz"), { timeout: 10_000 }).toBe(503);
    await database.pool.query("alter table memory_job rename column failure to error");
    await expect.poll(() => statusOf(app, "/readyz"), { timeout: 10_000 }).toBe(200);
  });
});

describe("row-level security that hides rows from the service's role", () => {
  let login: Login;
  beforeEach(async () => {
    login = await createLogin(database, "gomemory_reader");
  });
  afterEach(() => login[Symbol.asyncDispose]());
  const enable = () => database.pool.query("alter table memory_job enable row level security");

  test("without a policy for it, is no reason to start: every job would read as unknown", async () => {
    await enable();
    await expect(startTestApp({ DATABASE_URL: login.url })).rejects.toMatchObject({
      name: "SchemaError",
      message: expect.stringContaining("row-level security hides every row of memory_job"),
    });
  });

  test("while the service runs, turns /readyz to 503, until a policy admits the role", async () => {
    await using app = await startTestApp({ DATABASE_URL: login.url });
    expect(await statusOf(app, "/readyz")).toBe(200);
    await enable();
    await expect.poll(() => statusOf(app, "/readyz"), { timeout: 10_000 }).toBe(503);
    expect(JSON.stringify(app.logs)).toContain("row-level security hides every row of memory_job");
    await database.pool.query("create policy read on memory_job for select to gomemory_reader using (true)");
    await expect.poll(() => statusOf(app, "/readyz"), { timeout: 10_000 }).toBe(200);
  });

  test("with a policy for it, is a warning", async () => {
    await enable();
    await database.pool.query("create policy read on memory_job to public using (status <> 'pending')");
    await using app = await startTestApp({ DATABASE_URL: login.url });
    expect(await statusOf(app, "/readyz")).toBe(200);
    expect(warningsOf(app)).toEqual([expect.stringContaining("row-level security is active on memory_job")]);
  });

  test("does not concern the table's owner, nor a role with a policy for writing alone", async () => {
    await enable();
    await using app = await startTestApp({ DATABASE_URL: database.url });
    expect(warningsOf(app)).toEqual([]);
    await database.pool.query("create policy write on memory_job for update to public using (true)");
    await expect(startTestApp({ DATABASE_URL: login.url })).rejects.toMatchObject({ name: "SchemaError" });
  });
});
