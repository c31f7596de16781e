import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

let database: TestDatabase;
let app: TestApp;

beforeAll(async () => {
  database = await createDatabase();
  app = await startTestApp({ DATABASE_URL: database.url, MAX_WAIT: "20s" });
});

afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const events = { headers: { Accept: "text/event-stream" } };

async function finish(reqId: string): Promise<string> {
  await database.db
    .updateTable("memory_job")
    .set({ status: "failure", error: "timeout" })
    .where("req_id", "=", reqId)
    .execute();
  return await documentedJson(database.db, reqId);
}

/** @returns how many calls of a kind are held. */
async function held({ url }: TestApp, kind: string): Promise<string | undefined> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return new RegExp(`^rpc_server_held_calls\\{.*"${kind}".*\\} (.*)$`, "m").exec(metrics)?.[1];
}

test("a wait is answered with the final state", async () => {
  for (const [query, headers] of [
    ["?wait=20s", {}],
    ["", { Prefer: "wait=60" }],
  ] as const) {
    const reqId = await insertJob(database.db);
    const answer = fetch(`${app.url}/get_status/${reqId}${query}`, { headers });
    await expect.poll(() => held(app, "wait"), { interval: 5 }).toBe("1");
    const json = await finish(reqId);
    const response = await answer;
    expect([response.status, await response.text()]).toEqual([200, json]);
    expect(response.headers.get("preference-applied")).toBe(query === "" ? "wait=20" : null);
    expect(response.headers.get("retry-after")).toBeNull();
  }
});

test("a wait that is over is answered with the state as it is", async () => {
  const reqId = await insertJob(database.db);
  const response = await fetch(`${app.url}/get_status/${reqId}?wait=1ms`);
  expect([response.status, await response.text()]).toEqual([200, await documentedJson(database.db, reqId)]);
  expect(response.headers.get("retry-after")).toBe("2");
});

test("events say each change, and end", async () => {
  const reqId = await insertJob(database.db);
  const before = await documentedJson(database.db, reqId);
  const response = await fetch(`${app.url}/get_status/${reqId}`, events);
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const readUntil = async (part: string) => {
    while (!text.includes(part)) {
      const { value, done } = (await reader?.read()) ?? {};
      if (done) throw new Error(`ended without ${part}: ${text}`);
      text += value;
    }
  };
  await readUntil(before);
  await readUntil(await finish(reqId));
  await readUntil('event: end\ndata: {"reason":"FINAL"}\n\n');
  expect((await reader?.read())?.done).toBe(true);
  const id = text.match(/^id: (.*\/failure)$/m)?.[1] as string;
  const back = await fetch(`${app.url}/get_status/${reqId}`, {
    headers: { ...events.headers, "Last-Event-ID": id },
  });
  expect(back.status).toBe(204);
});

test("an unknown id is answered as without waiting, and at once", async () => {
  for (const [query, headers] of [
    ["?wait=20s", {}],
    ["", events.headers],
  ] as const) {
    const response = await fetch(`${app.url}/get_status/${randomUUID()}${query}`, { headers });
    expect([response.status, response.headers.get("error-reason")]).toEqual([500, "STATUS_NOT_FOUND"]);
  }
});

test("a batch has the statuses of each id", async () => {
  const reqId = await insertJob(database.db);
  const missing = randomUUID();
  const response = await fetch(`${app.url}/get_status:batch`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ reqIds: [missing, reqId] }),
  });
  expect(await response.json()).toEqual({
    items: [
      { reqId: missing, error: { reason: "STATUS_NOT_FOUND" } },
      { reqId, status: JSON.parse(await documentedJson(database.db, reqId)) },
    ],
  });
});

describe("when the service shuts down", () => {
  test("a wait is answered with the state as it is, and events end", async () => {
    const other = await startTestApp({ DATABASE_URL: database.url, SHUTDOWN_TIMEOUT: "1s" });
    const reqId = await insertJob(database.db);
    const url = `${other.url}/get_status/${reqId}`;
    const watched = await fetch(url, events);
    const waited = fetch(`${url}?wait=30s`);
    await expect.poll(() => held(other, "wait"), { interval: 5 }).toBe("1");
    await other[Symbol.asyncDispose]();
    expect(await watched.text()).toContain('event: end\ndata: {"reason":"GOING_AWAY"}\n\n');
    const response = await waited;
    expect([response.status, await response.text()]).toEqual([200, await documentedJson(database.db, reqId)]);
  });
});
