import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { answerNow, type Call, callerGone } from "../../src/status/call.ts";
import type { JobStatus } from "../../src/status/status.ts";
import { overEvery, send } from "../support/calls.ts";
import { getStatusOf } from "../support/get-status.ts";
import { startAsking } from "../support/hang-up.ts";
import { serveEndpoints } from "../support/serve.ts";

const createdAt = new Date("2026-03-03T21:44:15Z");
const pending: JobStatus = { status: "pending", createdAt };
const success: JobStatus = { status: "success", createdAt };
const reqId = randomUUID();
const path = `/get_status/${reqId}`;

/** The waits that were asked for, in milliseconds. */
let waits: number[] = [];
let waiting = Promise.withResolvers<Call>();
/** How the wait ends. */
let wait: (call: Call) => Promise<JobStatus> | JobStatus = () => success;

const endpoint = getStatusOf(() => Promise.resolve(pending), {
  async wait(_reqId, milliseconds, call) {
    waits.push(milliseconds);
    waiting.resolve(call);
    return await wait(call);
  },
});

let server: Awaited<ReturnType<typeof serveEndpoints>>;

beforeAll(async () => {
  server = await serveEndpoints([endpoint], { maxWait: 30_500 });
});

afterAll(() => server[Symbol.asyncDispose]());

beforeEach(() => {
  waits = [];
  waiting = Promise.withResolvers();
  wait = () => success;
});

interface Case {
  readonly query?: string;
  readonly prefer?: string | readonly string[];
  readonly method?: string;
}

/** @returns what is answered over both versions of HTTP, which is the same. */
async function ask({ query = "", prefer, method = "GET" }: Case) {
  const headers = prefer === undefined ? {} : { Prefer: prefer as string };
  const answers = [];
  for (const call of overEvery("", "rest", { method, path: path + query, headers })) {
    waits = [];
    const { status, headers, body } = await send(call, server.url);
    const { "error-reason": reason, "retry-after": retryAfter, "preference-applied": applied } = headers;
    answers.push({ status, reason, retryAfter, applied, body: body.toString(), waits });
  }
  const [first, second] = answers;
  expect(second).toEqual(first);
  return first;
}

describe("the query says how long to wait", () => {
  test.for([
    ["30s", 30_000],
    ["1.5s", 1_500],
    ["1.000000001s", 1_000],
    ["00030s", 30_000],
    ["500ms", 500],
    ["1500ms", 1_500],
    ["30", 30_000],
    ["315576000000s", 315_576_000_000_000],
    ["%33%30s", 30_000],
  ] as const)("%s", async ([value, milliseconds]) => {
    expect(await ask({ query: `?wait=${value}` })).toMatchObject({ status: 200, waits: [milliseconds] });
  });

  test.for(["0s", "0", "0ms", "0.0s", "0.000000000s"])("%s is no wait", async (value) => {
    expect(await ask({ query: `?wait=${value}` })).toMatchObject({ status: 200, waits: [], retryAfter: "2" });
  });

  test.for([
    "",
    "-1s",
    "-0s",
    "+1s",
    "1.s",
    ".5s",
    "1.0000000001s",
    "1e3s",
    "0x10",
    "1h",
    "1m",
    "30%20s",
    "30sx",
    "1.5",
    "1.5ms",
    "ms",
    "s",
    "NaN",
    "Infinity",
    "315576000001s",
    "315576000000.1s",
    "999999999999999ms9",
    "9".repeat(5_000),
    "%zz",
    "30s%00",
    "30s&wait=30s",
    "30s&wait=",
    "30s&w%61it=1s",
  ])("INVALID_WAIT: %j", async (value) => {
    for (const method of ["GET", "HEAD"]) {
      const answer = await ask({ query: `?wait=${value}`, method });
      expect(answer).toMatchObject({ status: 400, reason: "INVALID_WAIT", waits: [] });
    }
  });

  test.for([
    "?",
    "?cache=no&x=%",
    "?waits=1s",
    "?WAIT=1s",
    "?&&",
    "?a=b?wait=1s",
  ])("other parameters are ignored: %s", async (query) => {
    expect(await ask({ query })).toMatchObject({ status: 200, waits: [] });
  });

  test("among other parameters", async () => {
    expect(await ask({ query: "?cache=no&wait=2s&x=%" })).toMatchObject({ waits: [2_000] });
  });
});

describe("Prefer says how long to wait, and the answer what is granted", () => {
  test.for([
    { prefer: "wait=10", seconds: 10 },
    { prefer: "WAIT = 10", seconds: 10 },
    { prefer: 'wait="10"', seconds: 10 },
    { prefer: "respond-async, wait=10", seconds: 10 },
    { prefer: "wait=10;strict=yes; other", seconds: 10 },
    { prefer: 'handling=lenient; a="x, wait=3;\\"", , wait=10', seconds: 10 },
    { prefer: "wait=10, wait=20", seconds: 10 },
    { prefer: ["return=minimal", "wait=10"], seconds: 10 },
    { prefer: "wait=010", seconds: 10 },
    { prefer: "wait=30", seconds: 30 },
    { prefer: "wait=31", seconds: 31, granted: 30 },
    { prefer: "wait=86400", seconds: 86_400, granted: 30 },
  ])("$prefer", async ({ prefer, seconds, granted = seconds }) => {
    const answer = await ask({ prefer });
    expect(answer).toMatchObject({ status: 200, waits: [seconds * 1_000], applied: `wait=${granted}` });
  });

  test("0 is no wait", async () => {
    expect(await ask({ prefer: "wait=0" })).toMatchObject({ waits: [], applied: "wait=0" });
  });

  test.for([
    "",
    "wait",
    "wait=",
    "wait=x",
    "wait=-1",
    "wait=1.5",
    "wait=10s",
    "wait=x, wait=10",
    "wait=315576000001",
    `wait=${"9".repeat(1_000)}`,
    "respond-async; wait=10",
    'foo="wait=10',
    "foo==, wait=10",
    "prewait=10",
    "return=minimal",
  ])("what cannot be used is ignored: %j", async (prefer) => {
    expect(await ask({ prefer })).toMatchObject({ status: 200, waits: [], applied: undefined });
  });

  test("the query wins", async () => {
    const answer = await ask({ prefer: "wait=10", query: "?wait=2s" });
    expect(answer).toMatchObject({ waits: [2_000], applied: undefined });
    expect(await ask({ prefer: "wait=10", query: "?wait=0s" })).toMatchObject({
      waits: [],
      applied: undefined,
    });
    expect(await ask({ prefer: "wait=10", query: "?wait=" })).toMatchObject({ status: 400 });
  });

  test("an error grants nothing", async () => {
    wait = () => Promise.reject(new Error("fault"));
    expect(await ask({ prefer: "wait=10" })).toMatchObject({ status: 500, applied: undefined });
  });
});

test("HEAD never waits", async () => {
  for (const asked of [{ query: "?wait=30s" }, { prefer: "wait=30" }]) {
    const answer = await ask({ ...asked, method: "HEAD" });
    expect(answer).toMatchObject({ status: 200, waits: [], applied: undefined, retryAfter: "2", body: "" });
  }
});

describe("Retry-After", () => {
  test.for([
    { status: "pending", retryAfter: "2" },
    { status: "processing", retryAfter: "2" },
    { status: "success", retryAfter: undefined },
    { status: "failure", error: "x", retryAfter: undefined },
  ] as const)("$status: $retryAfter", async ({ retryAfter, ...job }) => {
    await using one = await serveEndpoints([getStatusOf(() => Promise.resolve({ ...job, createdAt }))]);
    for (const method of ["GET", "HEAD"]) {
      for (const call of overEvery("", "rest", { method, path })) {
        const { headers } = await send(call, one.url);
        expect(headers["retry-after"]).toBe(retryAfter);
      }
    }
  });
});

/** Ends when the call is cancelled, as the contract says. */
const untilCancelled = (call: Call) =>
  new Promise<JobStatus>((resolve, reject) => {
    call.attach({ cancel: (reason) => (reason === answerNow ? resolve(pending) : reject(reason)) });
  });

describe("a caller that leaves while its call is held", () => {
  const held = overEvery("waits", "rest", { method: "GET", path: `${path}?wait=30s` });

  test.for(held)("cancels it: $name", async (call) => {
    wait = untilCancelled;
    const asking = startAsking(call, server.url);
    const cancelled = await waiting.promise;
    asking.hangUp();
    await asking.closed;
    await expect.poll(() => cancelled.reason, { interval: 5 }).toBe(callerGone);
  });

  test("and only ends its sending side, over HTTP/1.1, is answered with the status as it is", async () => {
    wait = untilCancelled;
    const socket = connect(server.address.port, "127.0.0.1");
    await once(socket, "connect");
    socket.write(`GET ${path}?wait=30s HTTP/1.1\r\nHost: x\r\n\r\n`);
    await waiting.promise;
    socket.end();
    const answer = (await buffer(socket)).toString("latin1");
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer.endsWith('\r\n\r\n{"status":"pending","createdAt":"2026-03-03T21:44:15Z"}')).toBe(true);
  });
});
