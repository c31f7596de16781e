import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseReqId } from "../../src/status/req-id.ts";
import { createJobLedger } from "../../src/store/jobs/job-ledger.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { metricValue } from "../support/metric.ts";
import { technicalIssues } from "../support/protocols.ts";
import { overHttp1, overHttp2 } from "../support/raw-http.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

const badRequest = `{"Error":"Bad Request","Message":"Bad Request","Status":400}`;
/** A status, the header `Error-Reason`, and a body. */
const refused = (reason: string) => [400, reason, badRequest];
const notFound = [500, "STATUS_NOT_FOUND", technicalIssues];

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

const tooMany = Array.from({ length: 1_001 }, () => randomUUID());
const jsonOf = (reqId: string) => documentedJson(database.db, reqId);

async function watchedIds(): Promise<number | undefined> {
  return metricValue(await (await fetch(`${app.url}/metrics`)).text(), "status_watched_ids");
}

describe.for([
  { version: "1.1", send: overHttp1 },
  { version: "2", send: overHttp2 },
])("REST, HTTP/$version", ({ send }) => {
  const wait = async (reqId: string, wait: string) => {
    const { status, headers, body } = await send(app.url, {
      method: "GET",
      path: `/get_status/${reqId}?wait=${wait}`,
    });
    return [status, headers["error-reason"], body.toString()];
  };
  const watch = async (reqId: string) => {
    const headers = { accept: "text/event-stream" };
    const answer = await send(app.url, { method: "GET", path: `/get_status/${reqId}`, headers });
    return [answer.status, answer.headers["error-reason"], answer.body.toString()];
  };
  const batch = async (reqIds: readonly string[]) => {
    const headers = { "content-type": "application/json" };
    const body = Buffer.from(JSON.stringify({ reqIds }));
    const answer = await send(app.url, { method: "POST", path: "/get_status:batch", headers, body });
    return [answer.status, answer.headers["error-reason"], answer.body.toString()];
  };

  test("a wait", async () => {
    const pending = await insertJob(database.db);
    const failed = await insertJob(database.db, { status: "failure", error: "out of memory" });
    expect(await wait(pending, "50ms")).toEqual([200, undefined, await jsonOf(pending)]);
    expect(await wait(pending, "0s")).toEqual([200, undefined, await jsonOf(pending)]);
    expect(await wait(failed, "3600")).toEqual([200, undefined, await jsonOf(failed)]);
    expect(await wait(randomUUID(), "30s")).toEqual(notFound);
    expect(await wait("nope", "30s")).toEqual(refused("INVALID_REQ_ID"));
    for (const invalid of ["", "-1s", "soon", "30s&wait=30s"]) {
      expect(await wait(pending, invalid), invalid).toEqual(refused("INVALID_WAIT"));
    }
    const answer = wait(pending, "30s");
    await expect.poll(watchedIds, { interval: 5 }).toBe(1);
    await createJobLedger(database.db).succeed(parseReqId(pending));
    expect(await answer).toEqual([200, undefined, await jsonOf(pending)]);
  });

  test("events", async () => {
    const failed = await insertJob(database.db, { status: "failure", error: "out of memory" });
    const [status, , text] = await watch(failed);
    expect(status).toBe(200);
    expect(text).toMatch(/^retry: [2-4]\d{3}\n\nid: \S+\nevent: status\n/);
    expect(text).toContain(`data: ${await jsonOf(failed)}\n\nevent: end\ndata: {"reason":"FINAL"}\n\n`);
    expect(await watch(randomUUID())).toEqual(notFound);
    expect(await watch("nope")).toEqual(refused("INVALID_REQ_ID"));
  });

  test("a batch", async () => {
    const done = await insertJob(database.db, { status: "success" });
    const unknown = randomUUID();
    expect(await batch([unknown, done.toUpperCase()])).toEqual([
      200,
      undefined,
      `{"items":[{"reqId":"${unknown}","error":{"reason":"STATUS_NOT_FOUND"}},{"reqId":"${done}","status":${await jsonOf(done)}}]}`,
    ]);
    expect(await batch([])).toEqual(refused("NO_IDS"));
    expect(await batch(tooMany)).toEqual(refused("TOO_MANY_IDS"));
    expect(await batch([unknown, "nope"])).toEqual(refused("INVALID_REQ_ID"));
  });
});
