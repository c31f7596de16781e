import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { type Answer, type Client, type Protocol, protocols, technicalIssues } from "../support/protocols.ts";
import { startProxy } from "../support/proxy.ts";
import { createLogin, type Login } from "../support/roles.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

const badRequest = `{"Error":"Bad Request","Message":"Bad Request","Status":400}`;

/** The contract: what each reason looks like over REST and over the RPC protocols. */
const failures = {
  INVALID_REQ_ID: { rest: [400, badRequest], rpc: ["INVALID_ARGUMENT", "ErrorInfo,BadRequest"] },
  STATUS_NOT_FOUND: { rest: [500, technicalIssues], rpc: ["NOT_FOUND", "ErrorInfo"] },
  DATASTORE_UNAVAILABLE: { rest: [500, technicalIssues], rpc: ["UNAVAILABLE", "ErrorInfo,RetryInfo"] },
  DEADLINE_EXCEEDED: { rest: [500, technicalIssues], rpc: ["DEADLINE_EXCEEDED", "ErrorInfo"] },
} as const;

function failure(protocol: Protocol, reason: keyof typeof failures): Answer {
  const [code, more] = failures[reason][protocol.isRest ? "rest" : "rpc"];
  return { code, reason, more };
}

let database: TestDatabase;
/** May do no more than the service needs. */
let reader: Login;
let app: TestApp;

beforeAll(async () => {
  database = await createDatabase();
  reader = await createLogin(database, "gomemory_reader");
  app = await startTestApp({ DATABASE_URL: reader.url });
});

afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await reader[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

describe.for(protocols)("$name", (protocol) => {
  let client: Client;

  beforeAll(() => {
    client = protocol.open(app.url);
  });

  afterAll(() => client.close());

  test.for([
    { status: "pending", error: null },
    { status: "processing", error: null },
    { status: "success", error: null },
    { status: "failure", error: `Vector database timeout\n"during" embedding 🧠` },
    { status: "failure", error: "" },
  ] as const)("found: $status, error $error", async (job) => {
    const reqId = await insertJob(database.db, job);
    expect(await client.ask(reqId)).toEqual({ json: await documentedJson(database.db, reqId) });
  });

  test("found: an id in upper case", async () => {
    const reqId = await insertJob(database.db);
    expect(await client.ask(reqId.toUpperCase())).toEqual({ json: await documentedJson(database.db, reqId) });
  });

  test.for([
    "",
    "a b",
    "not-a-uuid",
    "0b1cda3c9a5f4b7e8f2d1c0a9b8e7d6f",
    `${randomUUID()}0`,
    "ü/?#%",
    "x".repeat(4000),
  ])("malformed id: %j", async (reqId) => {
    expect(await client.ask(reqId)).toEqual(failure(protocol, "INVALID_REQ_ID"));
  });

  test("unknown id", async () => {
    expect(await client.ask(randomUUID())).toEqual(failure(protocol, "STATUS_NOT_FOUND"));
  });

  test("expired: a row older than 24 hours", async () => {
    const reqId = await insertJob(database.db, { status: "success", age: 24 * 3600 + 1 });
    expect(await client.ask(reqId)).toEqual(failure(protocol, "STATUS_NOT_FOUND"));
  });

  test("still found: a row one minute short of 24 hours", async () => {
    const reqId = await insertJob(database.db, { status: "success", age: 24 * 3600 - 60 });
    expect(await client.ask(reqId)).toEqual({ json: await documentedJson(database.db, reqId) });
  });

  test("deadline passed: our own, whatever the caller's", async () => {
    await using impatient = await startTestApp({ DATABASE_URL: reader.url, REQUEST_TIMEOUT: "50ms" });
    const reqId = await insertJob(database.db);
    await using _lock = await lockTable(database);
    const longer = protocol.open(impatient.url);
    expect(await longer.ask(reqId, { timeoutMs: 20_000 })).toEqual(failure(protocol, "DEADLINE_EXCEEDED"));
    longer.close();
  });

  // REST has no header for it.
  if (!protocol.isRest) {
    test("deadline passed: the caller's", async () => {
      const reqId = await insertJob(database.db);
      await using _lock = await lockTable(database);
      // Whether the client or the server sees it pass first, the code is the same.
      expect(await client.ask(reqId, { timeoutMs: 50 })).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    });
  }
});

test("a status expires while the service runs, by the database's clock", async () => {
  const reqId = await insertJob(database.db, { status: "success", age: 24 * 3600 - 2 });
  const found = { json: await documentedJson(database.db, reqId) };
  const clients = protocols.map((protocol) => ({ protocol, client: protocol.open(app.url) }));
  for (const { client } of clients) expect(await client.ask(reqId)).toEqual(found);
  await sql`
    select pg_sleep_until(created_at + interval '24 hours') from memory_job where req_id = ${reqId}`.execute(
    database.db,
  );
  for (const { protocol, client } of clients) {
    expect(await client.ask(reqId)).toEqual(failure(protocol, "STATUS_NOT_FOUND"));
    client.close();
  }
});

test("database down, and up again: DATASTORE_UNAVAILABLE over every protocol, and served again without a restart", async () => {
  await using proxy = await startProxy(reader.url);
  await using behindProxy = await startTestApp({ DATABASE_URL: proxy.url });
  const reqId = await insertJob(database.db);
  const found = { json: await documentedJson(database.db, reqId) };
  const clients = protocols.map((protocol) => ({ protocol, client: protocol.open(behindProxy.url) }));
  for (const { client } of clients) expect(await client.ask(reqId)).toEqual(found);
  proxy.cut();
  for (const { protocol, client } of clients) {
    expect(await client.ask(reqId)).toEqual(failure(protocol, "DATASTORE_UNAVAILABLE"));
  }
  await proxy.mend();
  await expect.poll(() => clients[0]?.client.ask(reqId), { interval: 10, timeout: 1_000 }).toEqual(found);
  for (const { client } of clients) {
    expect(await client.ask(reqId)).toEqual(found);
    client.close();
  }
});
