import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:http2";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { getStatusCalls, send } from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { lockTable } from "../support/lock.ts";
import { metricValue } from "../support/metric.ts";
import { openGrpcJs } from "../support/protocols.ts";
import { startProxy } from "../support/proxy.ts";
import type { Told } from "../support/raw-http.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase({ encoding: "SQL_ASCII" });
});

afterAll(() => database[Symbol.asyncDispose]());

/** How many calls over a protocol have ended with a code. */
async function ended({ url }: TestApp, protocol: string, code: string): Promise<number> {
  const metrics = await fetch(`${url}/metrics`).then((response) => response.text());
  const labels = {
    rpc_system_name: protocol,
    rpc_method: "gomemory.status.v1.StatusService/GetStatus",
    rpc_status_code: code,
  };
  return metricValue(metrics, "rpc_server_call_duration_seconds_count", labels) ?? 0;
}

/** Starts a service that sheds every call, until it is let go. */
async function startFullApp(calls: number) {
  const app = await startTestApp({
    DATABASE_URL: database.url,
    MAX_IN_FLIGHT: String(calls),
    REQUEST_TIMEOUT: "60s",
  });
  const lock = await lockTable(database);
  const held = Array.from({ length: calls }, () => fetch(`${app.url}/get_status/${randomUUID()}`));
  const inFlight = async () => {
    const metrics = await fetch(`${app.url}/metrics`).then((response) => response.text());
    return metricValue(metrics, "rpc_server_calls_in_flight", { rpc_system_name: "rest" });
  };
  await expect.poll(inFlight, { interval: 5, timeout: 10_000 }).toBe(calls);
  async function letGo(): Promise<void> {
    await lock[Symbol.asyncDispose]();
    await Promise.all(held);
  }
  return {
    app,
    letGo,
    async [Symbol.asyncDispose]() {
      await letGo();
      await app[Symbol.asyncDispose]();
    },
  };
}

/** @returns the delay of an answer's `RetryInfo`, in milliseconds. */
function retryDelayOf({ headers, body }: Told): number | undefined {
  const error = headers["grpc-status-details-bin"]
    ? findTrailerError(new Headers({ ...grpcHeaders(headers) }))
    : fromJson(body);
  const [retry] = error?.findDetails(RetryInfoSchema) ?? [];
  return retry?.retryDelay && durationMs(retry.retryDelay);
}

function grpcHeaders(headers: Told["headers"]): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("grpc-")));
}

/** An error as Connect writes it, or, in its trailers' frame, as gRPC-Web does. */
function fromJson(body: Buffer): ConnectError | undefined {
  if (body[0] === 0x80) {
    const lines = body.subarray(5).toString().trim().split("\r\n");
    return findTrailerError(new Headers(lines.map((line) => line.split(": ") as [string, string])));
  }
  const { message, details } = JSON.parse(body.toString());
  const error = new ConnectError(message);
  for (const { type, value } of details) error.details.push({ type, value: Buffer.from(value, "base64") });
  return error;
}

const callsOf = (name: string) => getStatusCalls(randomUUID()).filter((call) => call.name.startsWith(name));

describe("calls that are shed together get different retry delays", () => {
  test("over REST, after 1, 2 or 3 seconds", async () => {
    await using full = await startFullApp(1);
    const [call] = callsOf("REST");
    if (call === undefined) throw new Error("no call");
    const told = await Promise.all(Array.from({ length: 12 }, () => send(call, full.app.url)));
    const seconds = told.map(({ headers }) => headers["retry-after"]);
    expect(seconds.toSorted()).toEqual(["1", "1", "1", "1", "2", "2", "2", "2", "3", "3", "3", "3"]);
  });

  test.for([
    "Connect, POST",
    "gRPC-Web",
    "gRPC, HTTP/2",
    "gRPC, in JSON",
  ])("over %s, after 1 to 3 seconds", async (name) => {
    await using full = await startFullApp(1);
    const call = callsOf(name).at(-1);
    if (call === undefined) throw new Error("no call");
    const told = await Promise.all(Array.from({ length: 16 }, () => send(call, full.app.url)));
    const delays = told.map(retryDelayOf).map(Number);
    expect(new Set(delays).size).toBe(16);
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(1_000);
    expect(Math.max(...delays)).toBeLessThanOrEqual(3_000);
    const pushbacks = told.map(({ headers }) => headers["grpc-retry-pushback-ms"]);
    // gRFC A6 is about gRPC alone.
    expect(pushbacks).toEqual(delays.map((delay) => (call.protocol === "grpc" ? String(delay) : undefined)));
  });
});

test("calls that find no database get different retry delays", async () => {
  await using proxy = await startProxy(database.url);
  await using app = await startTestApp({ DATABASE_URL: proxy.url });
  proxy.cut();
  const [call] = callsOf("gRPC, HTTP/2");
  if (call === undefined) throw new Error("no call");
  const told = await Promise.all(Array.from({ length: 16 }, () => send(call, app.url)));
  const delays = told.map(retryDelayOf).map(Number);
  expect(new Set(delays).size).toBe(16);
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(1_000);
  expect(Math.max(...delays)).toBeLessThanOrEqual(3_000);
});

test.for([
  { name: "the fast path", type: "application/grpc" },
  { name: "Connect's adapter", type: "application/grpc+json" },
])("an error of $name is one block of headers, without which no gRPC client retries", async ({ type }) => {
  await using full = await startFullApp(1);
  const session = connect(full.app.url);
  const call = callsOf("gRPC").find(({ asked }) => asked.headers?.["Content-Type"] === type);
  if (call === undefined) throw new Error("no call");
  const stream = session.request({ ":method": "POST", ":path": call.asked.path, ...call.asked.headers });
  const blocks: string[] = [];
  stream.on("response", (headers, flags) => blocks.push(`headers ${headers["grpc-status"]} ${flags & 1}`));
  stream.on("trailers", () => blocks.push("trailers"));
  stream.resume().end(call.asked.body);
  await once(stream, "close");
  session.destroy();
  expect(blocks).toEqual(["headers 8 1"]);
});

describe("the example of the docs for Node, over REST", () => {
  let folder: Folder;
  let getStatus: (url: string, reqId: string) => Promise<unknown>;

  beforeAll(async () => {
    folder = await createFolder();
    const docs = await readFile(new URL("../../docs/use/errors-and-retries.md", import.meta.url), "utf8");
    const [, code = ""] = /```js\n(\/\*\* Asks.*?)```/s.exec(docs) ?? [];
    ({ getStatus } = await import(await folder.write("example.mjs", code)));
  });

  afterAll(() => folder[Symbol.asyncDispose]());

  test("retries a call that is shed", async () => {
    const reqId = await insertJob(database.db);
    await using full = await startFullApp(1);
    const asking = getStatus(full.app.url, reqId);
    await expect.poll(() => ended(full.app, "rest", "RESOURCE_EXHAUSTED"), { timeout: 10_000 }).toBe(1);
    await full.letGo();
    expect(await asking).toEqual(JSON.parse(await documentedJson(database.db, reqId)));
  });

  test("retries a call that finds no database", async () => {
    await using proxy = await startProxy(database.url);
    await using app = await startTestApp({ DATABASE_URL: proxy.url });
    const reqId = await insertJob(database.db);
    proxy.cut();
    const asking = getStatus(app.url, reqId);
    await expect.poll(() => ended(app, "rest", "UNAVAILABLE"), { timeout: 10_000 }).toBe(1);
    await proxy.mend();
    expect(await asking).toEqual(JSON.parse(await documentedJson(database.db, reqId)));
  });

  test.for([
    { code: "NOT_FOUND", reqId: randomUUID(), answer: "500 STATUS_NOT_FOUND" },
    { code: "INVALID_ARGUMENT", reqId: "nope", answer: "400 INVALID_REQ_ID" },
  ])("does not retry $answer", async ({ code, reqId, answer }) => {
    await using app = await startTestApp({ DATABASE_URL: database.url });
    await expect(getStatus(app.url, reqId)).rejects.toThrow(answer);
    expect(await ended(app, "rest", code)).toBe(1);
  });
});

describe("grpc-js, with the service config of the docs", async () => {
  const serviceConfig = await readFile(
    new URL("../../docs/use/grpc-service-config.json", import.meta.url),
    "utf8",
  );
  const { maxAttempts } = JSON.parse(serviceConfig).methodConfig[0].retryPolicy;
  const open = ({ url }: TestApp) => openGrpcJs(url, undefined, { "grpc.service_config": serviceConfig });

  test("retries calls that are shed, each after its delay", async () => {
    const reqId = await insertJob(database.db);
    await using full = await startFullApp(16);
    const client = open(full.app);
    const startedAt = performance.now();
    const asking = Array.from({ length: 16 }, async () => {
      const answer = await client.ask(reqId);
      return { answer, after: performance.now() - startedAt };
    });
    await expect.poll(() => ended(full.app, "grpc", "RESOURCE_EXHAUSTED"), { timeout: 10_000 }).toBe(16);
    await full.letGo();
    const answers = await Promise.all(asking);
    client.close();
    const json = await documentedJson(database.db, reqId);
    expect(answers.map(({ answer }) => answer)).toEqual(answers.map(() => ({ json })));
    const after = answers.map((answer) => answer.after);
    expect(Math.min(...after)).toBeGreaterThanOrEqual(990);
    // By its own backoff, a client would be back after 1.2 s.
    expect(Math.max(...after)).toBeGreaterThanOrEqual(2_800);
  });

  test("fails a call that is shed each time", async () => {
    await using full = await startFullApp(1);
    const client = open(full.app);
    const answer = await client.ask(randomUUID());
    client.close();
    expect(answer).toMatchObject({ code: "RESOURCE_EXHAUSTED", reason: "OVERLOADED" });
    expect(await ended(full.app, "grpc", "RESOURCE_EXHAUSTED")).toBe(maxAttempts);
  });

  test("retries a call that finds no database", async () => {
    await using proxy = await startProxy(database.url);
    await using app = await startTestApp({ DATABASE_URL: proxy.url });
    const reqId = await insertJob(database.db);
    proxy.cut();
    const client = open(app);
    const asking = client.ask(reqId);
    await expect.poll(() => ended(app, "grpc", "UNAVAILABLE"), { timeout: 10_000 }).toBe(1);
    await proxy.mend();
    expect(await asking).toEqual({ json: await documentedJson(database.db, reqId) });
    client.close();
  });

  test.for([
    { code: "NOT_FOUND", asks: async () => randomUUID() },
    { code: "INVALID_ARGUMENT", asks: async () => "nope" },
    {
      code: "DATA_LOSS",
      async asks() {
        const reqId = randomUUID();
        const insert = "insert into memory_job (req_id, status, error) values ($1, 'failure', E'Z\\xfcrich')";
        await database.pool.query(insert, [reqId]);
        return reqId;
      },
    },
    // Not shed, but too large: its pushback forbids a retry.
    { code: "RESOURCE_EXHAUSTED", asks: async () => "x".repeat(70_000) },
  ])("does not retry $code", async ({ code, asks }) => {
    await using app = await startTestApp({ DATABASE_URL: database.url });
    const client = open(app);
    expect(await client.ask(await asks())).toMatchObject({ code });
    client.close();
    expect(await ended(app, "grpc", code)).toBe(1);
  });
});
