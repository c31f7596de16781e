import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseReqId } from "../../src/status/req-id.ts";
import { createJobLedger } from "../../src/store/jobs/job-ledger.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { metricValue } from "../support/metric.ts";
import { startProxy } from "../support/proxy.ts";
import { documentedJson, insertJob, insertPending } from "../support/rows.ts";
import { type RpcClient, type RpcFailure, rpcClients } from "../support/waiting/rpc-clients.ts";

/** The contract: the code of each reason. */
const codes = {
  INVALID_REQ_ID: "INVALID_ARGUMENT",
  INVALID_WAIT: "INVALID_ARGUMENT",
  NO_IDS: "INVALID_ARGUMENT",
  TOO_MANY_IDS: "INVALID_ARGUMENT",
  STATUS_NOT_FOUND: "NOT_FOUND",
  DATASTORE_UNAVAILABLE: "UNAVAILABLE",
} as const;
type Reason = keyof typeof codes;

function failure(reason: Reason, field?: string): RpcFailure {
  return { code: codes[reason], reason, field };
}

let database: TestDatabase;
let app: TestApp;

beforeAll(async () => {
  database = await createDatabase();
  app = await startTestApp({ DATABASE_URL: database.url });
});

afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const jsonOf = (reqId: string) => documentedJson(database.db, reqId);
const statusEvent = async (reqId: string) =>
  `{"status":{"reqId":"${reqId}","status":${await jsonOf(reqId)}}}`;
const goneEvent = (reqId: string) => `{"gone":{"reqId":"${reqId}"}}`;
const tooMany = Array.from({ length: 1_001 }, () => randomUUID());

async function untilWatched(ids: number, { url } = app): Promise<void> {
  const watched = async () => metricValue(await (await fetch(`${url}/metrics`)).text(), "status_watched_ids");
  await expect.poll(watched, { interval: 5 }).toBe(ids);
}

async function succeed(reqId: string): Promise<void> {
  await createJobLedger(database.db).succeed(parseReqId(reqId));
}

describe.for(rpcClients("http://not-used").map(({ name }) => name))("%s", (name) => {
  let client: RpcClient;

  beforeAll(() => {
    client = rpcClients(app.url).find((each) => each.name === name) as RpcClient;
  });

  describe("GetStatus with a wait", () => {
    test.for([
      { status: "success", error: null },
      { status: "failure", error: "out of memory" },
    ] as const)("$status: answered at once", async (job) => {
      const reqId = await insertJob(database.db, job);
      expect(await client.wait(reqId.toUpperCase(), 3_600_000)).toBe(await jsonOf(reqId));
    });

    test.for(["pending", "processing"] as const)("%s: answered so when the time is over", async (status) => {
      const reqId = await insertJob(database.db, { status });
      expect(await client.wait(reqId, 50)).toBe(await jsonOf(reqId));
      expect(await client.wait(reqId, 0)).toBe(await jsonOf(reqId));
      expect(await client.wait(reqId, 3_600_000, 300)).toBe(await jsonOf(reqId));
    });

    test("answered when the status is final", async () => {
      const reqId = await insertJob(database.db);
      const answer = client.wait(reqId, 3_600_000);
      await untilWatched(1);
      await succeed(reqId);
      expect(await answer).toBe(await jsonOf(reqId));
    });

    test("failures, all of them at once", async () => {
      const expired = await insertJob(database.db, { age: 24 * 3600 + 1 });
      const pending = await insertJob(database.db);
      expect(await client.wait("nope", 3_600_000)).toEqual(failure("INVALID_REQ_ID", "req_id"));
      expect(await client.wait(pending, -1)).toEqual(failure("INVALID_WAIT", "wait"));
      expect(await client.wait(randomUUID(), 3_600_000)).toEqual(failure("STATUS_NOT_FOUND"));
      expect(await client.wait(expired, 3_600_000)).toEqual(failure("STATUS_NOT_FOUND"));
    });
  });

  describe("WatchStatus", () => {
    test("final and unknown ids: each once, and OK", async () => {
      const done = await insertJob(database.db, { status: "success" });
      const failed = await insertJob(database.db, { status: "failure", error: "" });
      const [unknown, expired] = [randomUUID(), await insertJob(database.db, { age: 24 * 3600 + 1 })];
      const events = await client.watch([done.toUpperCase(), failed, unknown, expired, done]);
      const wanted = [
        await statusEvent(done),
        await statusEvent(failed),
        goneEvent(unknown),
        goneEvent(expired),
      ];
      expect(events.toSorted()).toEqual(wanted.toSorted());
    });

    test("changes, and OK after the last one", async () => {
      const reqId = await insertJob(database.db);
      const before = await statusEvent(reqId);
      const events = client.watch([reqId]);
      await untilWatched(1);
      await succeed(reqId);
      expect(await events).toEqual([before, await statusEvent(reqId)]);
    });

    test("the caller's deadline", async () => {
      const reqId = await insertJob(database.db);
      // Whether the client or the service sees it pass first, the code is the same.
      expect(await client.watch([reqId], 300)).toEqual([
        await statusEvent(reqId),
        expect.objectContaining({ code: "DEADLINE_EXCEEDED" }),
      ]);
    });

    test("failures", async () => {
      expect(await client.watch([])).toEqual([failure("NO_IDS", "req_ids")]);
      expect(await client.watch(tooMany)).toEqual([failure("TOO_MANY_IDS", "req_ids")]);
      expect(await client.watch([randomUUID(), "nope"])).toEqual([failure("INVALID_REQ_ID", "req_ids[1]")]);
    });
  });

  describe("BatchGetStatus", () => {
    test("each id has its outcome, in the order asked", async () => {
      const done = await insertJob(database.db, { status: "success" });
      const failed = await insertJob(database.db, { status: "failure", error: "out of memory" });
      const unknown = randomUUID();
      const item = async (reqId: string) => ({ reqId, status: JSON.parse(await jsonOf(reqId)) });
      const none = { reqId: unknown, error: { reason: "STATUS_NOT_FOUND" } };
      const answer = await client.batch([unknown, failed, done.toUpperCase(), failed]);
      expect(JSON.parse(answer as string)).toEqual({
        items: [none, await item(failed), await item(done), await item(failed)],
      });
    });

    test("failures", async () => {
      expect(await client.batch([])).toEqual(failure("NO_IDS", "req_ids"));
      expect(await client.batch(tooMany)).toEqual(failure("TOO_MANY_IDS", "req_ids"));
      expect(await client.batch([randomUUID(), "nope"])).toEqual(failure("INVALID_REQ_ID", "req_ids[1]"));
    });
  });
});

test("a status that expires meanwhile is not found, and gone", async () => {
  const reqId = await insertJob(database.db, { age: 24 * 3600 - 2 });
  const before = await statusEvent(reqId);
  const clients = rpcClients(app.url);
  const waits = clients.map((client) => client.wait(reqId, 30_000));
  const watches = clients.map((client) => client.watch([reqId]));
  const events = fetch(`${app.url}/get_status/${reqId}`, { headers: { Accept: "text/event-stream" } });
  expect(await Promise.all(waits)).toEqual(clients.map(() => failure("STATUS_NOT_FOUND")));
  expect(await Promise.all(watches)).toEqual(clients.map(() => [before, goneEvent(reqId)]));
  expect(await (await events).text()).toMatch(/event: gone[\s\S]*event: end\ndata: {"reason":"GONE"}\n\n$/);
});

test("database down, and up again: calls fail at once that begin then, and those that wait go on waiting", async () => {
  await using proxy = await startProxy(database.url);
  await using behindProxy = await startTestApp({ DATABASE_URL: proxy.url });
  const clients = rpcClients(behindProxy.url);
  const [reqId = "", ...reqIds] = await insertPending(database.db, 1 + 2 * clients.length);
  const toWatch = reqIds.splice(clients.length);
  const before = await Promise.all(toWatch.map(statusEvent));
  const waits = clients.map((client, index) => client.wait(reqIds[index] ?? "", 30_000));
  const watches = clients.map((client, index) => client.watch([toWatch[index] ?? ""]));
  // All have been read once.
  await untilWatched(2 * clients.length, behindProxy);
  proxy.cut();
  for (const client of clients) {
    expect(await client.wait(reqId, 30_000), client.name).toEqual(failure("DATASTORE_UNAVAILABLE"));
    expect(await client.watch([reqId]), client.name).toEqual([failure("DATASTORE_UNAVAILABLE")]);
    expect(await client.batch([reqId]), client.name).toEqual(failure("DATASTORE_UNAVAILABLE"));
  }
  const headers = { Accept: "text/event-stream" };
  const events = await fetch(`${behindProxy.url}/get_status/${reqId}`, { headers });
  expect([events.status, await events.text()]).toEqual([
    200,
    expect.stringContaining(`event: unavailable\ndata: {"reason":"DATASTORE_UNAVAILABLE"}\n\n`),
  ]);
  await untilWatched(2 * clients.length, behindProxy);

  await sql`update memory_job set status = 'success' where status = 'pending'`.execute(database.db);
  await proxy.mend();
  expect(await Promise.all(waits)).toEqual(await Promise.all(reqIds.map(jsonOf)));
  const after = await Promise.all(toWatch.map(statusEvent));
  expect(await Promise.all(watches)).toEqual(clients.map((_, index) => [before[index], after[index]]));
});
