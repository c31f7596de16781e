import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { answerNow, type Call } from "../../src/status/call.ts";
import {
  datastoreUnavailable,
  goingAway,
  limits,
  overloaded,
  slowConsumer,
  unauthenticated,
  unreadableStatus,
} from "../../src/status/errors.ts";
import type { ReqId } from "../../src/status/req-id.ts";
import type { JobStatus } from "../../src/status/status.ts";
import type { WatchEvent } from "../../src/status/watching/watch.ts";
import type { Watching } from "../../src/status/watching/watching.ts";
import { type CallOutcome, observeCalls } from "../../src/telemetry/calls.ts";
import { overEvery, send } from "../support/calls.ts";
import { getStatusOf } from "../support/get-status.ts";
import { startAsking } from "../support/hang-up.ts";
import {
  flag,
  frame,
  frameType,
  headerBlock,
  preface,
  setting,
  settings,
  uint32,
} from "../support/http2-frames.ts";
import { openPeer } from "../support/peer.ts";
import { technicalIssues } from "../support/protocols.ts";
import { serveEndpoints } from "../support/serve.ts";
import { openStalled } from "../support/stalled.ts";

const createdAt = new Date("2026-03-03T21:44:15Z");
const reqId = randomUUID() as ReqId;
const path = `/get_status/${reqId}`;
const events = { Accept: "text/event-stream" };

const status = (job: Pick<JobStatus, "status" | "error">): WatchEvent => ({
  kind: "status",
  reqId,
  status: { ...job, createdAt },
});
const pending = status({ status: "pending" });
const processing = status({ status: "processing" });
const success = status({ status: "success" });
const failure = status({ status: "failure", error: 'timeout\n"during" embedding 🧠' });
const gone: WatchEvent = { kind: "gone", reqId };
const heartbeat: WatchEvent = { kind: "heartbeat", datastoreAnsweredAt: new Date() };

let watch: Watching["watch"] = () => ReadableStream.from([]);
const ended: (CallOutcome & { readonly method: string })[] = [];
const noWait = () => Promise.reject(new Error("events do not wait"));

let server: Awaited<ReturnType<typeof serveEndpoints>>;

beforeAll(async () => {
  const find = () => Promise.resolve({ status: "pending", createdAt } as const);
  server = await serveEndpoints([getStatusOf(find, { wait: noWait, watch: (...asked) => watch(...asked) })], {
    observe: observeCalls([
      (protocol, method) => ({
        ended: ({ call, code, duration, fault }) =>
          void (protocol === "rest" && ended.push({ call, code, duration, fault, method })),
      }),
    ]),
  });
});

afterAll(() => server[Symbol.asyncDispose]());

beforeEach(() => {
  ended.length = 0;
});

/** Has a watch have these events, and end as told. */
function script(happening: readonly WatchEvent[], error?: unknown): void {
  watch = async function* () {
    yield* happening;
    await Promise.resolve();
    if (error !== undefined) throw error;
  };
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly code: string | undefined;
}

/** Asks over every version of HTTP. @returns the answers, whose jittered delay is checked, and is "RETRY" in the body. */
async function ask(headers: Readonly<Record<string, string>> = events, asked = path): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const call of overEvery("", "rest", { method: "GET", path: asked, headers })) {
    ended.length = 0;
    const { status, headers, body } = await send(call, server.url);
    await expect.poll(() => ended.length, { interval: 5 }).toBe(1);
    const text = body.toString().replace(/^retry: (\d+)$/m, (_, delay) => {
      expect(Number(delay)).toBeGreaterThanOrEqual(2_000);
      expect(Number(delay)).toBeLessThanOrEqual(5_000);
      return "retry: RETRY";
    });
    answers.push({ status, headers, body: text, code: ended[0]?.code });
  }
  return answers;
}

const ofRetry = "retry: RETRY\n\n";
const ofPending =
  'id: 2026-03-03T21:44:15Z/pending\nevent: status\ndata: {"status":"pending","createdAt":"2026-03-03T21:44:15Z"}\n\n';
const ofSuccess = ofPending.replaceAll("pending", "success");
const ofFailure = ofPending
  .replaceAll("pending", "failure")
  .replace("}", ',"error":"timeout\\n\\"during\\" embedding 🧠"}');
const end = (reason: string) => `event: end\ndata: {"reason":"${reason}"}\n\n`;
const unavailable = (reason: string) => `event: unavailable\ndata: {"reason":"${reason}"}\n\n`;

describe("events", () => {
  test("say the current state, then its changes, then the end", async () => {
    script([pending, heartbeat, processing, failure]);
    for (const { status, headers, body, code } of await ask()) {
      expect([status, code]).toEqual([200, "OK"]);
      expect(headers).toMatchObject({
        "content-type": "text/event-stream",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
      });
      expect(headers).not.toHaveProperty("content-length");
      expect(headers).not.toHaveProperty("content-encoding");
      expect(body).toBe(
        `${ofRetry}${ofPending}:\n\n${ofPending.replaceAll("pending", "processing")}${ofFailure}${end("FINAL")}`,
      );
      expect(ended[0]).toMatchObject({
        method: "gomemory.status.v1.StatusService/WatchStatus",
        call: { heldAs: "events", asked: reqId },
      });
    }
  });

  test("end when the status is gone", async () => {
    script([pending, gone]);
    for (const { body, code } of await ask()) {
      expect(body).toBe(`${ofRetry}${ofPending}event: gone\ndata: {"reqId":"${reqId}"}\n\n${end("GONE")}`);
      expect(code).toBe("OK");
    }
  });

  test("end without a reason for a caller that ends its sending side", async () => {
    script([pending]);
    for (const { body, code } of await ask()) expect([body, code]).toEqual([`${ofRetry}${ofPending}`, "OK"]);
  });

  test("wait for nothing: such a query is ignored", async () => {
    script([success]);
    for (const wait of ["?wait=30s", "?wait=", "?wait=1&wait=x"]) {
      for (const { body } of await ask({ ...events, Prefer: "wait=5" }, path + wait))
        expect(body).toBe(`${ofRetry}${ofSuccess}${end("FINAL")}`);
    }
  });

  test("delays before coming back differ", async () => {
    script([success]);
    const bodies = await Promise.all(
      Array.from(
        { length: 20 },
        async () => await (await fetch(server.url + path, { headers: events })).text(),
      ),
    );
    expect(new Set(bodies).size).toBeGreaterThan(10);
  });
});

describe("the first event", () => {
  test("gone: the answer is that without events", async () => {
    script([gone]);
    for (const { status, headers, body, code } of await ask()) {
      expect([status, headers["error-reason"], body, code]).toEqual([
        500,
        "STATUS_NOT_FOUND",
        technicalIssues,
        "NOT_FOUND",
      ]);
    }
  });

  test.for([
    {
      error: unreadableStatus(new Error("row")),
      status: 500,
      reason: "STATUS_UNREADABLE",
      code: "DATA_LOSS",
    },
    { error: unauthenticated, status: 401, reason: "UNAUTHENTICATED", code: "UNAUTHENTICATED" },
    { error: slowConsumer, status: 503, reason: "SLOW_CONSUMER", code: "RESOURCE_EXHAUSTED" },
    { error: new Error("fault"), status: 500, reason: "INTERNAL", code: "INTERNAL" },
  ])("$reason instead is an error of HTTP", async ({ error, status, reason, code }) => {
    script([], error);
    for (const answer of await ask()) {
      expect([answer.status, answer.headers["error-reason"], answer.code]).toEqual([status, reason, code]);
      expect(answer.headers["content-type"]).toBe("application/json");
    }
  });

  test.for([
    "/get_status/nope",
    "/get_status/",
    "/get_status",
  ])("of a malformed id, %s: 400", async (malformed) => {
    script([success]);
    for (const { status, headers } of await ask(events, malformed))
      expect([status, headers["error-reason"]]).toEqual([400, "INVALID_REQ_ID"]);
  });

  test.for([
    ...limits.map((limit) => ({ name: limit, error: overloaded(limit), code: "RESOURCE_EXHAUSTED" })),
    { name: "database", error: datastoreUnavailable(new Error("down")), code: "UNAVAILABLE" },
  ])("$code ($name) instead passes: an event, and the end", async ({ error, code }) => {
    script([], error);
    for (const answer of await ask()) {
      expect(answer).toMatchObject({ status: 200, code, body: `${ofRetry}${unavailable(error.reason)}` });
      // What is the service's fault has an id, here too.
      expect(answer.headers["x-request-id"] !== undefined).toBe(code === "UNAVAILABLE");
    }
  });

  test("GOING_AWAY instead: the end", async () => {
    script([], goingAway);
    for (const answer of await ask())
      expect(answer).toMatchObject({
        status: 200,
        code: "UNAVAILABLE",
        body: `${ofRetry}${end("GOING_AWAY")}`,
      });
  });

  test("nothing instead, for a caller that ends its sending side: the end", async () => {
    script([]);
    for (const answer of await ask())
      expect(answer).toMatchObject({ status: 200, code: "OK", body: ofRetry });
  });
});

describe("later", () => {
  test.for([
    {
      error: datastoreUnavailable(new Error("down")),
      text: unavailable("DATASTORE_UNAVAILABLE"),
      code: "UNAVAILABLE",
    },
    { error: goingAway, text: end("GOING_AWAY"), code: "UNAVAILABLE" },
    { error: unauthenticated, text: "", code: "UNAUTHENTICATED" },
    { error: slowConsumer, text: "", code: "RESOURCE_EXHAUSTED" },
    { error: unreadableStatus(new Error("row")), text: "", code: "DATA_LOSS" },
    { error: new Error("fault"), text: "", code: "INTERNAL" },
  ])("$error: $text", async ({ error, text, code }) => {
    script([pending], error);
    for (const answer of await ask())
      expect(answer).toMatchObject({ status: 200, code, body: `${ofRetry}${ofPending}${text}` });
  });
});

describe("a caller that comes back with the last event's id", () => {
  const back = (id: string) => ({ ...events, "Last-Event-ID": id });

  test("of a final state that holds still gets nothing: 204", async () => {
    let finished = 0;
    watch = async function* () {
      try {
        await Promise.resolve();
        yield success;
      } finally {
        finished++;
      }
    };
    for (const { status, headers, body, code } of await ask(back("2026-03-03T21:44:15Z/success"))) {
      expect([status, body, code]).toEqual([204, "", "OK"]);
      expect(headers["cache-control"]).toBe("no-store");
      expect(headers["content-type"]).toBeUndefined();
    }
    expect(finished).toBe(2);
  });

  test.for([
    { id: "2026-03-03T21:44:15Z/failure", now: success, body: `${ofSuccess}${end("FINAL")}` },
    { id: "2026-03-03T21:44:14Z/success", now: success, body: `${ofSuccess}${end("FINAL")}` },
    { id: "2026-03-03T21:44:15Z/success", now: failure, body: `${ofFailure}${end("FINAL")}` },
    { id: "2026-03-03T21:44:15Z/pending", now: pending, body: ofPending },
    { id: "", now: success, body: `${ofSuccess}${end("FINAL")}` },
  ])("of another state, or of one that is not final, gets events: $id", async ({ id, now, body }) => {
    script([now]);
    for (const answer of await ask(back(id)))
      expect(answer).toMatchObject({ status: 200, body: ofRetry + body });
  });
});

describe("are sent to those alone who name them in Accept", () => {
  test.for([
    "text/event-stream",
    "Text/Event-Stream",
    "text/event-stream;charset=utf-8",
    "text/event-stream, */*",
    "text/event-stream;q=0.5",
    "application/json, text/event-stream",
    "application/json;q=0.5, text/event-stream;q=0.6",
    "text/event-stream;q=0.3, application/json;q=0, */*",
    "text/html ;q=0.9 , text/event-stream ; Q=0.1",
    'text/plain;a="x, y;\\"q=1", text/event-stream',
    "text/event-stream;q=0, text/event-stream",
    ", ,text/event-stream,",
  ])("events: %s", async (accept) => {
    script([success]);
    for (const { headers } of await ask({ Accept: accept }))
      expect(headers["content-type"]).toBe("text/event-stream");
  });

  test.for([
    "*/*",
    "text/*",
    "application/json",
    "text/event-stream;q=0",
    "text/event-stream;q=0.000",
    "text/event-stream;q=2",
    "text/event-stream;q=x",
    "text/event-stream;q=0.5, application/json",
    "text/event-stream;q=0.5, */*;q=0.6",
    "text/event-stream;q=0.5, application/*;q=0.6, */*;q=0",
    "text/event-streams",
    'text/plain;a="text/event-stream"',
    'text/event-stream;a="',
    "text/event-stream;=x;a==b",
    "",
  ])("JSON: %j", async (accept) => {
    script([success]);
    for (const { headers, body } of await ask({ Accept: accept })) {
      expect(headers["content-type"]).toBe("application/json");
      expect(body).toBe('{"status":"pending","createdAt":"2026-03-03T21:44:15Z"}');
    }
  });

  test("HEAD is told the headers, and is not held", async () => {
    watch = () => {
      throw new Error("HEAD is not held");
    };
    for (const call of overEvery("", "rest", { method: "HEAD", path, headers: events })) {
      const { status, headers } = await send(call, server.url);
      expect([status, headers["content-type"], headers["content-length"]]).toEqual([
        200,
        "text/event-stream",
        undefined,
      ]);
    }
  });

  test("another method is not allowed", async () => {
    for (const call of overEvery("", "rest", { method: "POST", path, headers: events }))
      expect((await send(call, server.url)).status).toBe(405);
  });
});

/** A watch with events without end, or with one that nothing follows. */
function startWatch(isEndless: boolean) {
  const state = {
    pulled: 0,
    call: Promise.withResolvers<Call>(),
    finished: Promise.withResolvers<unknown>(),
  };
  const large = status({ status: "failure", error: "x".repeat(16_384) });
  watch = async function* (_reqIds, call) {
    state.call.resolve(call);
    const cancelled = new Promise((resolve) => call.attach({ cancel: resolve }));
    try {
      yield pending;
      while (isEndless && !call.cancelled && state.pulled < 10_000) {
        state.pulled++;
        yield large;
        await Promise.resolve();
      }
      await cancelled;
    } finally {
      state.finished.resolve(call.reason);
    }
  };
  return state;
}

const calls = overEvery("events", "rest", { method: "GET", path, headers: events });

describe("a client that reads nothing", () => {
  /** Asks, and takes nothing of the answer. */
  async function stall(call: (typeof calls)[number]) {
    const state = startWatch(true);
    const stalled = await openStalled(call, server.url);
    const before = { pulled: -1 };
    const isBlocked = () => {
      const same = state.pulled > 0 && state.pulled === before.pulled;
      before.pulled = state.pulled;
      return same;
    };
    await expect.poll(isBlocked, { interval: 50 }).toBe(true);
    expect(state.pulled).toBeLessThan(10_000);
    return { state, ...stalled };
  }

  test.for(calls)("has no more events pulled, and its end runs every finally: $name", async (call) => {
    const { state, hangUp } = await stall(call);
    hangUp();
    await state.finished.promise;
    await expect.poll(() => ended.map(({ code }) => code), { interval: 5 }).toEqual(["CANCELLED"]);
  });

  test.for(calls)("gets the rest, and the end, once it reads again: $name", async (call) => {
    const { state, read } = await stall(call);
    (await state.call.promise).cancel(goingAway);
    await state.finished.promise;
    await expect.poll(() => ended.map(({ code }) => code), { interval: 5 }).toEqual(["UNAVAILABLE"]);
    const text = await read();
    expect(text.split("event: status").length - 1).toBe(1 + state.pulled);
    expect(text).toContain(end("GOING_AWAY"));
  });
});

test("a client whose window is closed has one event that waits for it, however small", async () => {
  const begun = Promise.withResolvers<Call>();
  const wasCancelled: boolean[] = [];
  watch = async function* (_reqIds, call) {
    begun.resolve(call);
    await Promise.resolve();
    while (!call.cancelled) {
      yield pending;
      wasCancelled.push(call.cancelled);
    }
  };
  using peer = await openPeer(server.address.port);
  const headers = headerBlock({
    ":method": "GET",
    ":scheme": "http",
    ":path": path,
    ":authority": "test",
    accept: "text/event-stream",
  });
  const closedWindow = settings(setting.initialWindowSize, 0);
  peer.send(
    Buffer.concat([
      preface,
      closedWindow,
      frame(frameType.headers, flag.endHeaders | flag.endStream, 1, headers),
    ]),
  );
  await peer.frame(({ type, stream }) => type === frameType.headers && stream === 1);
  await peer.deliver();
  (await begun.promise).cancel(slowConsumer);
  await expect.poll(() => ended.map(({ code }) => code), { interval: 5 }).toEqual(["RESOURCE_EXHAUSTED"]);
  expect(wasCancelled).not.toContain(false);
  peer.send(frame(frameType.windowUpdate, 0, 1, uint32(1_000)));
  const { payload } = await peer.frame(({ type, payload }) => type === frameType.data && payload.length > 0);
  expect(payload.toString()).toContain(ofPending);
});

describe("a caller that leaves", () => {
  test.for(calls)("cancels its call: $name", async (call) => {
    const { finished } = startWatch(false);
    const asking = startAsking(call, server.url);
    await asking.answered;
    asking.hangUp();
    await finished.promise;
    await expect.poll(() => ended.map(({ code }) => code), { interval: 5 }).toEqual(["CANCELLED"]);
  });

  test("and only ends its sending side, over HTTP/1.1, gets what there is", async () => {
    const { finished } = startWatch(false);
    const socket = connect(server.address.port, "127.0.0.1");
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
    await once(socket, "readable");
    socket.end();
    expect(await finished.promise).toBe(answerNow);
    expect((await buffer(socket)).toString()).toContain(ofPending);
    await expect.poll(() => ended.map(({ code }) => code), { interval: 5 }).toEqual(["OK"]);
  });
});

test("a connection of HTTP/1.1 is closed behind events that end while the service shuts down", async () => {
  const begun = Promise.withResolvers<Call>();
  const watching = {
    async *watch(_reqIds: readonly ReqId[], call: Call) {
      const cancelled = new Promise((resolve) => call.attach({ cancel: resolve }));
      begun.resolve(call);
      yield pending;
      await cancelled;
    },
  };
  const other = await serveEndpoints([getStatusOf(noWait, watching)], { shutdownTimeout: 600_000 });
  const socket = connect(other.address.port, "127.0.0.1");
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
  await once(socket, "readable");
  const closed = other[Symbol.asyncDispose]();
  (await begun.promise).cancel(goingAway);
  expect((await buffer(socket)).toString()).toContain(end("GOING_AWAY"));
  await closed;
});
