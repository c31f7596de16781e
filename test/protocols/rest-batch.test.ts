import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { fromJsonString, toJsonString } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { batchGetStatus } from "../../src/endpoints/batch-get-status.ts";
import { BatchGetStatusResponseSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { callerGone } from "../../src/status/call.ts";
import { datastoreUnavailable } from "../../src/status/errors.ts";
import type { ReqId } from "../../src/status/req-id.ts";
import type { StatusOutcome, StatusStore } from "../../src/status/status-store.ts";
import type { CallOutcome } from "../../src/telemetry/calls.ts";
import { observeCalls } from "../../src/telemetry/calls.ts";
import { overEvery, post, send } from "../support/calls.ts";
import { startAsking } from "../support/hang-up.ts";
import { openPeer } from "../support/peer.ts";
import { serveEndpoints } from "../support/serve.ts";

const path = "/get_status:batch";
const found = randomUUID() as ReqId;
const missing = randomUUID() as ReqId;
const unread = randomUUID() as ReqId;
const createdAt = new Date("2026-03-03T21:44:15Z");

const outcomes = new Map<ReqId, StatusOutcome>([
  [found, { status: "failure", error: `"\n\0🧠`, createdAt }],
  [missing, undefined],
  [unread, datastoreUnavailable(new Error("gone"))],
]);

let findMany: StatusStore["findMany"] = () => Promise.resolve(outcomes);
let started = 0;
const ended: CallOutcome[] = [];
const limits = { maxMessageSize: 50_000, maxReceivingSize: 100_000 };

let server: Awaited<ReturnType<typeof serveEndpoints>>;

beforeAll(async () => {
  const listener = {
    started: () => void started++,
    ended: (outcome: CallOutcome) => void ended.push(outcome),
  };
  server = await serveEndpoints([batchGetStatus({ findMany: (...asked) => findMany(...asked) })], {
    ...limits,
    observe: observeCalls([
      (protocol, method) => (protocol === "rest" && method.endsWith("/BatchGetStatus") ? listener : {}),
    ]),
  });
});

afterAll(() => server[Symbol.asyncDispose]());

const json = (message: unknown) => Buffer.from(JSON.stringify(message));
const batch = (body: Buffer, headers = {}) => post(path, "application/json", body, headers);

/** @returns the answers over every version of HTTP, with the code that was observed. */
async function ask(asked: Parameters<typeof overEvery>[2]) {
  const answers = [];
  for (const call of overEvery("", "rest", asked)) {
    const before = ended.length;
    const { status, headers, body } = await send(call, server.url);
    await expect.poll(() => ended.length, { interval: 5 }).toBe(before + 1);
    answers.push({ status, headers, body: body.toString(), code: ended.at(-1)?.code });
  }
  return answers;
}

test("the statuses of several requests, in the order asked, in canonical JSON", async () => {
  const reqIds = [missing, found.toUpperCase(), unread, found];
  for (const { status, headers, body, code } of await ask(batch(json({ reqIds })))) {
    const failure = { status: "failure", createdAt: "2026-03-03T21:44:15Z", error: `"\n\0🧠` };
    expect([status, code]).toEqual([200, "OK"]);
    expect(headers).toMatchObject({ "content-type": "application/json", "cache-control": "no-store" });
    expect(JSON.parse(body)).toEqual({
      items: [
        { reqId: missing, error: { reason: "STATUS_NOT_FOUND" } },
        { reqId: found, status: failure },
        { reqId: unread, error: { reason: "DATASTORE_UNAVAILABLE" } },
        { reqId: found, status: failure },
      ],
    });
    const message = fromJsonString(BatchGetStatusResponseSchema, body);
    expect(toJsonString(BatchGetStatusResponseSchema, message)).toBe(body);
  }
});

describe("the body is read as protobuf's JSON", () => {
  test.for([
    ["the name of the proto", json({ req_ids: [found] })],
    ["a field that is unknown is ignored", json({ reqIds: [found], more: { a: 1 } })],
    ["a byte order mark", Buffer.concat([Buffer.from("\ufeff"), json({ reqIds: [found] })])],
  ] as const)("%s", async ([, body]) => {
    for (const { status } of await ask(batch(body))) expect(status).toBe(200);
  });

  test.for([
    "application/json",
    "Application/JSON ; charset=UTF-8",
    'application/json;charset="utf-8"',
  ])("as %s", async (type) => {
    for (const { status } of await ask(post(path, type, json({ reqIds: [found] })))) expect(status).toBe(200);
  });

  test("of an unknown length", async () => {
    const chunked = { method: "POST", path, headers: { "Content-Type": "application/json" } };
    for (const { status } of await ask({ ...chunked, body: json({ reqIds: [found] }) }))
      expect(status).toBe(200);
  });
});

const body = (status: number, text: string) => ({ Error: text, Message: text, Status: status });
const invalid = "INVALID_ARGUMENT";
const large = json({ reqIds: [found], more: "x".repeat(limits.maxMessageSize) });
const unmeasured = { method: "POST", path, headers: { "Content-Type": "application/json" }, body: large };

describe("what is refused", () => {
  test.for([
    { name: "no body", asked: batch(Buffer.alloc(0)), status: 400, title: "Bad Request", code: invalid },
    { name: "no JSON", asked: batch(Buffer.from("{")), status: 400, title: "Bad Request", code: invalid },
    { name: "another type", asked: batch(json([found])), status: 400, title: "Bad Request", code: invalid },
    { name: "null", asked: batch(json(null)), status: 400, title: "Bad Request", code: invalid },
    {
      name: "ids that are numbers",
      asked: batch(json({ reqIds: [1] })),
      status: 400,
      title: "Bad Request",
      code: invalid,
    },
    {
      name: "one id",
      asked: batch(json({ reqIds: found })),
      status: 400,
      title: "Bad Request",
      code: invalid,
    },
    {
      name: "deep JSON",
      asked: batch(Buffer.from("[".repeat(40_000))),
      status: 400,
      title: "Bad Request",
      code: invalid,
    },
    {
      name: "too large",
      asked: batch(large),
      status: 413,
      title: "Payload Too Large",
      code: "RESOURCE_EXHAUSTED",
    },
    {
      name: "too large, length unknown",
      asked: unmeasured,
      status: 413,
      title: "Payload Too Large",
      code: "RESOURCE_EXHAUSTED",
    },
    {
      name: "no media type",
      asked: { method: "POST", path, body: json({}) },
      status: 415,
      title: "Unsupported Media Type",
      code: invalid,
    },
    {
      name: "text",
      asked: post(path, "text/plain", json({})),
      status: 415,
      title: "Unsupported Media Type",
      code: invalid,
    },
    {
      name: "gRPC",
      asked: post(path, "application/grpc", json({})),
      status: 415,
      title: "Unsupported Media Type",
      code: invalid,
    },
    {
      name: "another charset",
      asked: post(path, "application/json; charset=latin1", json({})),
      status: 415,
      title: "Unsupported Media Type",
      code: invalid,
    },
    {
      name: "gzip",
      asked: batch(gzipSync(json({})), { "Content-Encoding": "gzip" }),
      status: 415,
      title: "Unsupported Media Type",
      code: invalid,
    },
  ])("$name: $status", async ({ asked, status, title, code }) => {
    for (const answer of await ask(asked)) {
      expect([answer.status, answer.code]).toEqual([status, code]);
      expect(JSON.parse(answer.body)).toEqual(body(status, title));
      expect(answer.headers["accept-post"]).toBe(status === 415 ? "application/json" : undefined);
      expect(answer.headers["error-reason"]).toBeUndefined();
    }
  });

  test.for([
    { reason: "NO_IDS", reqIds: [] },
    { reason: "TOO_MANY_IDS", reqIds: Array.from({ length: 1_001 }, () => found) },
    { reason: "INVALID_REQ_ID", reqIds: [found, "nope"] },
  ])("$reason", async ({ reason, reqIds }) => {
    for (const answer of await ask(batch(json({ reqIds })))) {
      expect([answer.status, answer.headers["error-reason"], answer.code]).toEqual([400, reason, invalid]);
      expect(JSON.parse(answer.body)).toEqual(body(400, "Bad Request"));
    }
  });

  test.for(["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])("%s: 405 that names POST", async (method) => {
    for (const { status, headers, code } of await ask({ method, path }))
      expect([status, headers.allow, code]).toEqual([405, "POST", "UNIMPLEMENTED"]);
  });

  test.for([
    "/get_status:batch/",
    "/get_status:BATCH",
    "/get_status:batch/x",
  ])("%s is unknown", async (unknown) => {
    for (const call of overEvery("", "rest", { ...batch(json({})), path: unknown })) {
      expect((await send(call, server.url)).status).toBe(404);
    }
  });
});

test("a caller waits for leave to send its body, and gets it unless its headers are refused", async () => {
  const message = json({ reqIds: [found] });
  const head = (type: string, length: number) =>
    `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`;
  using peer = await openPeer(server.address.port);
  const leave = new Promise((resolve) => peer.socket.once("data", (bytes) => resolve(String(bytes))));
  peer.send(head("application/json", message.length));
  expect(await leave).toBe("HTTP/1.1 100 Continue\r\n\r\n");
  peer.send(message);
  expect(String(await peer.closed)).toContain("\r\n\r\nHTTP/1.1 200 OK\r\n");
  for (const [type, length, status] of [
    ["text/plain", 10, 415],
    ["application/json", limits.maxMessageSize + 1, 413],
  ] as const) {
    using refused = await openPeer(server.address.port);
    refused.send(head(type, length));
    expect(String(await refused.closed)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  }
});

test("bodies that never end take no more memory together than MAX_RECEIVING_SIZE", async () => {
  const half = batch(json({ reqIds: [found], more: "x".repeat(45_000) }));
  const held = Array.from({ length: 3 }, () =>
    startAsking({ name: "", protocol: "rest", version: "1.1", asked: half }, server.url, true),
  );
  const whole = overEvery("", "rest", half)[1] as Parameters<typeof send>[0];
  const shed = async () => {
    const { status, headers } = await send(whole, server.url);
    return [status, headers["error-reason"], headers["error-limit"]];
  };
  await expect.poll(shed, { interval: 5 }).toEqual([503, "OVERLOADED", "MAX_RECEIVING_SIZE"]);
  for (const asking of held) asking.hangUp();
  await expect.poll(shed, { interval: 5 }).toEqual([200, undefined, undefined]);
});

describe("a caller that leaves", () => {
  const calls = overEvery("leaves", "rest", batch(json({ reqIds: [found] })));

  test.for(calls)("before its body is sent: $name", async (call) => {
    const before = ended.length;
    const startedBefore = started;
    const asking = startAsking(call, server.url, true);
    await expect.poll(() => started, { interval: 5 }).toBe(startedBefore + 1);
    asking.hangUp();
    await asking.closed;
    await expect
      .poll(() => ended.slice(before).map(({ code }) => code), { interval: 5 })
      .toEqual(["CANCELLED"]);
  });

  test.for(calls)("before it is answered: $name", async (call) => {
    const before = ended.length;
    const asked = Promise.withResolvers<void>();
    findMany = (_reqIds, { signal }) => {
      asked.resolve();
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    };
    const asking = startAsking(call, server.url);
    await asked.promise;
    asking.hangUp();
    await asking.closed;
    await expect
      .poll(() => ended.slice(before).map(({ code }) => code), { interval: 5 })
      .toEqual(["CANCELLED"]);
    expect(ended.at(-1)?.call.reason).toBe(callerGone);
    findMany = () => Promise.resolve(outcomes);
  });
});
