import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { protocols } from "../support/protocols.ts";
import { startProxy, type Proxy as TestProxy } from "../support/proxy.ts";
import { insertJob } from "../support/rows.ts";

let database: TestDatabase;
let proxy: TestProxy;

beforeAll(async () => {
  database = await createDatabase();
  proxy = await startProxy(database.url);
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const grpc = protocols.find(({ name }) => name === "gRPC, @grpc/grpc-js");

test("callers whose deadlines are shorter than the way to the database do not open the breaker for the others", async () => {
  const reqId = await insertJob(database.db, { status: "success" });
  await using app = await startTestApp({ DATABASE_URL: proxy.url });
  proxy.disturb({ delay: 55 });
  const client = grpc?.open(app.url);
  if (client === undefined) throw new Error("there is no client");
  const answer = await client.ask(reqId, { timeoutMs: 10_000 });
  expect(answer).toHaveProperty("json");

  const impatient = async () => {
    for (let n = 0; n < 40; n++) {
      expect(await client.ask(randomUUID(), { timeoutMs: 75 })).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    }
  };
  await Promise.all([impatient(), impatient()]);
  expect(await client.ask(reqId, { timeoutMs: 10_000 })).toEqual(answer);
  expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
  expect(JSON.stringify(app.logs)).not.toContain("the database is gone");
  client.close();
});

test("a locked table opens it: that the database cancels what callers leave is no answer", async () => {
  await using lock = await lockTable(database);
  await using app = await startTestApp({ DATABASE_URL: database.url, DATABASE_CONNECT_TIMEOUT: "500ms" });
  const client = grpc?.open(app.url);
  if (client === undefined) throw new Error("there is no client");
  const codes: unknown[] = [];
  const isGone = () => JSON.stringify(app.logs).includes("the database is gone");
  while (!isGone() && codes.length < 200) {
    codes.push(await client.ask(randomUUID(), { timeoutMs: 100 }));
  }
  expect(isGone()).toBe(true);
  expect(await client.ask(randomUUID())).toMatchObject({ code: "UNAVAILABLE" });
  await lock[Symbol.asyncDispose]();
  client.close();
});
