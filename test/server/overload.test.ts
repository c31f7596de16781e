import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { getStatusCalls, type RawCall } from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { startAsking } from "../support/hang-up.ts";
import { lockTable } from "../support/lock.ts";
import { metricValue } from "../support/metric.ts";
import { protocols } from "../support/protocols.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

/** Waits until a call over REST is in flight. */
async function untilInFlight({ url }: TestApp): Promise<void> {
  const inFlight = async () => {
    const metrics = await fetch(`${url}/metrics`).then((response) => response.text());
    return metricValue(metrics, "rpc_server_calls_in_flight", { rpc_system_name: "rest" });
  };
  await expect.poll(inFlight, { interval: 5, timeout: 10_000 }).toBe(1);
}

const longDeadline = { REQUEST_TIMEOUT: "60s" };
const publishedText =
  "We are experiencing some techincal issues right now. Please try again after some time!";

test("a call beyond MAX_IN_FLIGHT is shed over every protocol, and the admitted call is answered", async () => {
  await using app = await startTestApp({ DATABASE_URL: database.url, MAX_IN_FLIGHT: "1", ...longDeadline });
  const reqId = await insertJob(database.db);
  const found = { json: await documentedJson(database.db, reqId) };
  const clients = protocols.map((protocol) => ({ protocol, client: protocol.open(app.url) }));
  await using lock = await lockTable(database);
  const first = fetch(`${app.url}/get_status/${reqId}`);
  await untilInFlight(app);

  for (const { protocol, client } of clients) {
    expect(await client.ask(reqId), protocol.name).toEqual(
      protocol.isRest
        ? {
            code: 503,
            reason: "OVERLOADED",
            more: JSON.stringify({ Error: publishedText, Message: publishedText, Status: 503 }),
          }
        : { code: "RESOURCE_EXHAUSTED", reason: "OVERLOADED", more: "ErrorInfo,RetryInfo" },
    );
  }
  const shed = await fetch(`${app.url}/get_status/${reqId}`);
  expect(shed.headers.get("retry-after")).toMatch(/^[123]$/);

  await lock[Symbol.asyncDispose]();
  expect(await (await first).text()).toBe(found.json);
  for (const { protocol, client } of clients) {
    expect(await client.ask(reqId), protocol.name).toEqual(found);
    client.close();
  }
});

describe("ids that are queued for a statement", () => {
  test("are limited to MAX_QUEUED: the next is shed, and those in the queue are answered", async () => {
    await using app = await startTestApp({
      DATABASE_URL: database.url,
      BATCHES_IN_FLIGHT: "1",
      MAX_QUEUED: "2",
      ...longDeadline,
    });
    const ids = await Promise.all(Array.from({ length: 4 }, () => insertJob(database.db)));
    const ask = async (reqId: string | undefined) => {
      const response = await fetch(`${app.url}/get_status/${reqId}`);
      return response.status;
    };
    await using lock = await lockTable(database);
    const asked = ask(ids[0]);
    await untilInFlight(app);
    const others = ids.slice(1).map(ask);
    expect(await Promise.race(others)).toBe(503);
    await lock[Symbol.asyncDispose]();
    expect((await Promise.all([asked, ...others])).toSorted()).toEqual([200, 200, 200, 503]);
  });

  test("are counted as long as their calls are in progress: cancelled calls make room for others", async () => {
    await using app = await startTestApp({
      DATABASE_URL: database.url,
      BATCHES_IN_FLIGHT: "1",
      MAX_QUEUED: "20",
      ...longDeadline,
    });
    const ask = async () => {
      const response = await fetch(`${app.url}/get_status/${randomUUID()}`);
      return response.headers.get("error-reason");
    };
    const inFlight = async (count: number) => {
      const text = async () => (await fetch(`${app.url}/metrics`)).text();
      await expect
        .poll(
          async () => metricValue(await text(), "rpc_server_calls_in_flight", { rpc_system_name: "rest" }),
          {
            interval: 5,
          },
        )
        .toBe(count);
    };
    await using lock = await lockTable(database);
    const asked = [ask()];
    await lock.blocks(1);
    asked.push(...Array.from({ length: 10 }, () => ask()));
    await inFlight(11);
    for (let n = 0; n < 45; n += 5) {
      const [call] = getStatusCalls(randomUUID()) as [RawCall];
      const leaving = Array.from({ length: 5 }, () => startAsking(call, app.url));
      await inFlight(16);
      for (const { hangUp } of leaving) hangUp();
      await inFlight(11);
    }
    asked.push(ask());
    await inFlight(12);
    await lock[Symbol.asyncDispose]();
    expect(new Set(await Promise.all(asked))).toEqual(new Set(["STATUS_NOT_FOUND"]));
  });
});
