import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

let database: TestDatabase;
let app: TestApp;
let reqId: string;
let json: string;

beforeAll(async () => {
  database = await createDatabase();
  app = await startTestApp({ DATABASE_URL: database.url });
  reqId = await insertJob(database.db, { status: "failure", error: "ümläut" });
  json = await documentedJson(database.db, reqId);
});

afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

/** Sends bytes as they are. @returns what comes back until the server closes. */
async function sendRaw(request: string): Promise<string> {
  const socket = connect(app.port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(request.replaceAll("\n", "\r\n"));
  return await text(socket);
}

test("the answer's headers say what it is, and that it must not be stored", async () => {
  const response = await fetch(`${app.url}/get_status/${reqId}`);
  expect(response.headers.get("content-type")).toBe("application/json");
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect(response.headers.get("content-length")).toBe(String(Buffer.byteLength(json)));
  expect(await response.text()).toBe(json);
});

test("HEAD: the headers of GET, without the body", async () => {
  const response = await fetch(`${app.url}/get_status/${reqId}`, { method: "HEAD" });
  expect(response.status).toBe(200);
  expect(response.headers.get("content-length")).toBe(String(Buffer.byteLength(json)));
  expect(await response.text()).toBe("");
});

test.for([
  "POST",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
])("%s is not allowed, and the answer names what is", async (method) => {
  for (const path of [`/get_status/${reqId}`, "/healthz", "/readyz"]) {
    const response = await fetch(app.url + path, { method });
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("GET, HEAD");
    expect(await response.json()).toEqual({
      Error: "Method Not Allowed",
      Message: "Method Not Allowed",
      Status: 405,
    });
  }
});

test.for([
  "/",
  "/get_statu",
  "/get_statuses/x",
  "/gomemory.status.v1.StatusService/Nope",
  "/favicon.ico",
])("unknown path %s: 404 in JSON", async (path) => {
  const response = await fetch(app.url + path);
  expect(response.status).toBe(404);
  expect(response.headers.get("content-type")).toBe("application/json");
  expect(await response.json()).toEqual({ Error: "Not Found", Message: "Not Found", Status: 404 });
});

describe("a request without a well-formed id is a bad request", () => {
  test.for([
    "/get_status",
    "/get_status/",
    "/get_status?reqid=1",
    "/get_status/a/b",
    "/get_status/%",
    "/get_status/%zz",
    "/get_status/%00",
    "/get_status/%2e%2e",
    `/get_status/${"0".repeat(10_000)}`,
    `/get_status/${randomUUID()}/`,
    `/get_status/${randomUUID()}%20`,
    `/get_status//${randomUUID()}`,
  ])("%s", async (path) => {
    const answer = await sendRaw(`GET ${path} HTTP/1.1\nHost: localhost\nConnection: close\n\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer).toMatch(/\r\nError-Reason: INVALID_REQ_ID\r\n/);
    expect(answer).toMatch(/\r\n\r\n{"Error":"Bad Request","Message":"Bad Request","Status":400}$/);
  });
});

describe("an id is found however the URL spells it", () => {
  test.for([
    { name: "with a query, which is ignored", path: () => `/get_status/${reqId}?cache=no&x=%` },
    { name: "in upper case", path: () => `/get_status/${reqId.toUpperCase()}` },
    { name: "percent-encoded", path: () => `/get_status/${reqId.replace("-", "%2D")}` },
    { name: "in the absolute form that proxies use", path: () => `http://example.com/get_status/${reqId}` },
  ])("$name", async ({ path }) => {
    const answer = await sendRaw(`GET ${path()} HTTP/1.1\nHost: localhost\nConnection: close\n\n`);
    expect(answer.endsWith(`\r\n\r\n${json}`)).toBe(true);
  });

  test("over HTTP/1.0", async () => {
    expect((await sendRaw(`GET /get_status/${reqId} HTTP/1.0\n\n`)).endsWith(json)).toBe(true);
  });

  test("pipelined: the answers come in order", async () => {
    const get = (id: string) => `GET /get_status/${id} HTTP/1.1\nHost: localhost\n\n`;
    const answers = await sendRaw(
      get(reqId) + get("nope") + get(reqId).replace("\n\n", "\nConnection: close\n\n"),
    );
    expect(answers.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 400", "HTTP/1.1 200"]);
  });
});

test("a failure that is ours has an id, the caller's if there is one, and the log line has it too", async () => {
  await using doomed = await createDatabase();
  await using failing = await startTestApp({ DATABASE_URL: doomed.url });
  await doomed[Symbol.asyncDispose]();
  const response = await fetch(`${failing.url}/get_status/${reqId}`, {
    headers: { "X-Request-Id": "poller-7" },
  });
  expect(response.headers.get("x-request-id")).toBe("poller-7");
  expect(response.headers.get("error-reason")).toBe("DATASTORE_UNAVAILABLE");
  const line = failing.logs.find((log) => log.msg === "call failed");
  expect(line).toMatchObject({ requestId: "poller-7", protocol: "rest", code: "UNAVAILABLE" });

  const unnamed = await fetch(`${failing.url}/get_status/${reqId}`, {
    headers: { "X-Request-Id": "not printable\t" },
  });
  expect(unnamed.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
});

test("calls are logged when that is asked for, and not otherwise", async () => {
  await using talkative = await startTestApp({ DATABASE_URL: database.url, LOG_REQUESTS: "true" });
  await fetch(`${talkative.url}/get_status/${reqId}`);
  await fetch(`${app.url}/get_status/${reqId}`);
  expect(talkative.logs).toContainEqual(
    expect.objectContaining({
      msg: "call",
      protocol: "rest",
      method: "gomemory.status.v1.StatusService/GetStatus",
      code: "OK",
    }),
  );
  expect(app.logs.filter((log) => log.msg === "call")).toEqual([]);
});

test("probes: alive, ready", async () => {
  const alive = await fetch(`${app.url}/healthz`);
  expect([alive.status, await alive.json()]).toEqual([200, { status: "alive" }]);
  const ready = await fetch(`${app.url}/readyz`);
  expect([ready.status, await ready.json()]).toEqual([200, { status: "ready" }]);
});
