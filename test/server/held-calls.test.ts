import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  GetStatusRequestSchema,
  GetStatusResponse_Status,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { HealthCheckResponse_ServingStatus } from "../../src/gen/health/v1/health_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  endOf,
  framed,
  getStatusPath,
  healthPath,
  overEvery,
  post,
  type RawCall,
  reflectionPath,
  send,
  withHeaders,
} from "../support/calls.ts";
import { createAuthority } from "../support/certificates.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder } from "../support/folder.ts";
import { type Asking, startAsking } from "../support/hang-up.ts";
import { flag, frame, frameType, headerBlock, preface, setting, settings } from "../support/http2-frames.ts";
import { metricValue } from "../support/metric.ts";
import { openPeer } from "../support/peer.ts";
import { insertJob } from "../support/rows.ts";
import { bearing, tokenLine } from "../support/tokens.ts";

const watchMethod = "grpc.health.v1.Health/Watch";
const empty = framed(new Uint8Array());
const watches: readonly RawCall[] = [
  ...overEvery(
    "Connect",
    "connect",
    post(healthPath("Watch"), "application/connect+json", framed(Buffer.from("{}"))),
  ),
  ...overEvery("gRPC-Web", "grpc-web", post(healthPath("Watch"), "application/grpc-web", empty)),
  ...overEvery("gRPC", "grpc", post(healthPath("Watch"), "application/grpc", empty)),
];
const [, , , , grpcWatch] = watches as [RawCall, RawCall, RawCall, RawCall, RawCall];
const overHttp1 = watches.filter(({ version }) => version === "1.1");

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

const start = (env: Readonly<Record<string, string>> = {}) =>
  startTestApp({ DATABASE_URL: database.url, LOG_REQUESTS: "true", ...env });

const linesOf = (app: TestApp, method = watchMethod) => app.logs.filter((line) => line.method === method);

/** The request as it goes over HTTP/1.1. */
function bytesOf({ asked: { method, path, headers = {}, body = Buffer.alloc(0) } }: RawCall): Buffer {
  const lines = Object.entries({ Host: "x", ...headers }).map(([name, value]) => `${name}: ${value}`);
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`), body]);
}

describe("calls that are held beyond MAX_WAITING are shed", () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await start({ MAX_WAITING: "1" });
  });

  afterAll(() => app[Symbol.asyncDispose]());

  test.for(watches)("over every protocol, with the limit's name: $name", async (call) => {
    const asking = startAsking(call, app.url);
    await asking.answered;
    const end = await endOf(call, app.url);
    expect(end).toMatch(/resource_exhausted|grpc-status(": ?"|: ?)8/i);
    expect(end).toContain("MAX_WAITING");
    asking.hangUp();
    await asking.closed;
    // The next call is admitted.
    await expect
      .poll(
        async () => {
          const next: Asking = startAsking(call, app.url);
          await next.answered;
          next.hangUp();
          await next.closed;
          return linesOf(app).at(-1)?.code;
        },
        { interval: 5 },
      )
      .toBe("CANCELLED");
  });

  test("and no longer count once their deadlines have passed", async () => {
    const late = withHeaders(grpcWatch, { "grpc-timeout": "20m" });
    for (let round = 0; round < 3; round++) {
      expect(await endOf(late, app.url)).toContain('"grpc-status":"4"');
    }
  });

  test("streams of reflection are held calls, too", async () => {
    const asking = startAsking(grpcWatch, app.url);
    await asking.answered;
    const [reflection] = overEvery("", "grpc", post(reflectionPath, "application/grpc", empty)) as [RawCall];
    await expect.poll(() => endOf(reflection, app.url), { interval: 5 }).toContain('"grpc-status":"8"');
    asking.hangUp();
    await asking.closed;
  });
});

describe("a watch whose caller ends its sending side", () => {
  test.for(overHttp1)("gets the current state, and ends without an error: $name", async (call) => {
    await using app = await start();
    for (const isLater of [false, true]) {
      const socket = connect(app.port, "127.0.0.1");
      socket.write(bytesOf(call));
      if (isLater) await once(socket, "readable");
      socket.end();
      const answer = (await buffer(socket)).toString("latin1");
      expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
      if (call.protocol === "connect") expect(answer).toContain('{"status":"SERVING"}');
      else
        expect(answer).toContain(
          String.fromCharCode(0, 0, 0, 0, 2, 8, HealthCheckResponse_ServingStatus.SERVING),
        );
    }
    await expect.poll(() => linesOf(app).map(({ code }) => code), { interval: 5 }).toEqual(["OK", "OK"]);
  });
});

describe("a connection that is older than MAX_CONNECTION_AGE", () => {
  const old = { MAX_CONNECTION_AGE: "50ms", MAX_CONNECTION_AGE_GRACE: "50ms" };

  test.for(watches)("ends its held calls with GOING_AWAY after the grace: $name", async (call) => {
    await using app = await start(old);
    const end = await endOf(call, app.url);
    expect(end).toMatch(/"code":"unavailable"|grpc-status(": ?"|: ?)14/i);
    expect(end).toContain("GOING_AWAY");
    expect(end).toContain("RetryInfo");
    expect(linesOf(app)).toEqual([expect.objectContaining({ level: "info", code: "UNAVAILABLE" })]);
    expect(linesOf(app)[0]).not.toHaveProperty("requestId");
    expect(app.logs.filter(({ level }) => level === "error")).toEqual([]);
  });

  test("over HTTP/1.1 announces its end with the next response", async () => {
    await using app = await start(old);
    using peer = await openPeer(app.port);
    const answer = async () => {
      peer.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
      return String((await once(peer.socket, "data"))[0]);
    };
    expect(await answer()).toContain("\r\nConnection: keep-alive\r\n");
    await expect.poll(answer, { interval: 20 }).toContain("\r\nConnection: close\r\n");
    await peer.closed;
  });

  test("over HTTP/2 gets two GOAWAYs", async () => {
    await using app = await start(old);
    using peer = await openPeer(app.port);
    peer.send(preface);
    await peer.closed;
    const named = peer.frames
      .filter(({ type }) => type === frameType.goaway)
      .map(({ payload }) => payload.readUInt32BE());
    expect(named.slice(0, 2)).toEqual([2 ** 31 - 1, 0]);
  });
});

const watchHeaders = headerBlock({
  ":method": "POST",
  ":scheme": "http",
  ":path": healthPath("Watch"),
  ":authority": "test",
  "content-type": "application/grpc",
  te: "trailers",
});
const watchOn = (stream: number) =>
  Buffer.concat([
    frame(frameType.headers, flag.endHeaders, stream, watchHeaders),
    frame(frameType.data, flag.endStream, stream, empty),
  ]);

describe("a client that holds streams open", () => {
  const quick = { KEEPALIVE_TIME: "100ms", KEEPALIVE_TIMEOUT: "100ms" };

  test("and answers no PING loses its connection", async () => {
    await using app = await start(quick);
    using peer = await openPeer(app.port);
    peer.send(Buffer.concat([preface, watchOn(1)]));
    await peer.frame(({ type, flags }) => type === frameType.ping && (flags & flag.ack) === 0);
    await peer.closed;
    await expect.poll(() => linesOf(app).map(({ code }) => code), { interval: 5 }).toEqual(["CANCELLED"]);
  });

  test("and answers PINGs keeps it", async () => {
    await using app = await start(quick);
    using peer = await openPeer(app.port);
    peer.send(Buffer.concat([preface, watchOn(1)]));
    const seen = new Set<unknown>();
    for (let ping = 0; ping < 5; ping++) {
      const one = await peer.frame(
        (frame) => frame.type === frameType.ping && (frame.flags & flag.ack) === 0 && !seen.has(frame),
      );
      seen.add(one);
      peer.send(frame(frameType.ping, flag.ack, 0, one.payload));
    }
    expect(peer.socket.destroyed).toBe(false);
  });

  test("and reads no messages loses its streams after PEER_TIMEOUT", async () => {
    await using app = await start({ PEER_TIMEOUT: "100ms", MAX_WAITING: "1" });
    using peer = await openPeer(app.port);
    peer.send(Buffer.concat([preface, settings(setting.initialWindowSize, 0), watchOn(1)]));
    await peer.frame(({ type, stream }) => type === frameType.resetStream && stream === 1);
    await expect.poll(() => linesOf(app).map(({ code }) => code), { interval: 5 }).toEqual(["CANCELLED"]);
    const next = startAsking(grpcWatch, app.url);
    await next.answered;
    next.hangUp();
    await next.closed;
    await expect
      .poll(() => linesOf(app).map(({ code }) => code), { interval: 5 })
      .toEqual(["CANCELLED", "CANCELLED"]);
  });
});

test("over TLS, too, a client gets PINGs, then GOAWAY, and its watch ends with GOING_AWAY", async () => {
  await using folder = await createFolder();
  const authority = await createAuthority("Tests of held calls");
  const { cert, key } = await authority.issue("server", "localhost");
  await using app = await start({
    TLS_CERT: await folder.write("server.crt", cert),
    TLS_KEY: await folder.write("server.key", key),
    KEEPALIVE_TIME: "100ms",
    MAX_CONNECTION_AGE: "500ms",
    MAX_CONNECTION_AGE_GRACE: "100ms",
  });
  const session = connectHttp2(app.url, { ca: authority.cert });
  const seen: string[] = [];
  for (const event of ["ping", "goaway"]) session.on(event, () => void seen.push(event));
  const headers = { "content-type": "application/grpc", te: "trailers" };
  const watch = session.request({ ":method": "POST", ":path": healthPath("Watch"), ...headers });
  watch.resume().end(empty);
  const [trailers] = await once(watch, "trailers");
  expect(trailers["grpc-status"]).toBe("14");
  expect(new Set(seen)).toEqual(new Set(["ping", "goaway"]));
  if (!session.destroyed) await once(session, "close");
});

describe("waits", () => {
  const jobs = { pending: "", other: "" };

  beforeAll(async () => {
    jobs.pending = await insertJob(database.db);
    jobs.other = await insertJob(database.db);
  });

  /** GetStatus that waits, over REST and over gRPC, with the fast path. */
  function waitsFor(reqId: string, seconds = 30): RawCall[] {
    const request = create(GetStatusRequestSchema, { reqId, wait: { seconds: BigInt(seconds) } });
    const message = framed(toBinary(GetStatusRequestSchema, request));
    return [
      ...overEvery("REST", "rest", { method: "GET", path: `/get_status/${reqId}?wait=${seconds}s` }),
      ...overEvery("gRPC", "grpc", post(getStatusPath, "application/grpc", message)),
    ];
  }

  const names = waitsFor("").map(({ name }, index) => ({ name, index }));
  const waitAt = (index: number, reqId = jobs.pending) => waitsFor(reqId)[index] as RawCall;

  const held = async (app: TestApp, headers = {}) => {
    const text = await (await fetch(`${app.url}/metrics`, { headers })).text();
    return metricValue(text, "rpc_server_held_calls", { kind: "wait" });
  };
  const isHeld = (app: TestApp, count: number, headers = {}) =>
    expect.poll(() => held(app, headers), { interval: 5 }).toBe(count);

  const finish = (reqId: string) =>
    database.pool.query("update memory_job set status = 'success' where req_id = $1", [reqId]);

  test.for(names)("beyond MAX_WAITING are shed, and lookups are not: $name", async ({ index }) => {
    await using app = await start({ MAX_WAITING: "1", MAX_IN_FLIGHT: "1" });
    const first = startAsking(waitAt(index), app.url);
    await isHeld(app, 1);
    const { headers, body } = await send(waitAt(index, jobs.other), app.url);
    if (index < 2) {
      expect(headers).toMatchObject({ "error-reason": "OVERLOADED", "error-limit": "MAX_WAITING" });
      expect(Number(headers["retry-after"])).toBeOneOf([1, 2, 3, 4, 5]);
    } else {
      expect(`${headers["grpc-status"]} ${body.length}`).toBe("8 0");
      expect(Number(headers["grpc-retry-pushback-ms"])).toBeGreaterThanOrEqual(1_000);
    }
    const lookup = await fetch(`${app.url}/get_status/${jobs.other}`);
    expect(lookup.status).toBe(200);
    await lookup.body?.cancel();
    first.hangUp();
    await isHeld(app, 0);
  });

  test("of one token are shed beyond half of MAX_WAITING, and those of others are not", async () => {
    await using folder = await createFolder();
    const tokens = tokenLine("alice", "of-alice") + tokenLine("bob", "of-bob");
    await using app = await start({
      MAX_WAITING: "2",
      AUTH_TOKENS_FILE: await folder.write("tokens", tokens),
    });
    const ofBob = { Authorization: "Bearer of-bob" };
    const first = startAsking(withHeaders(waitAt(0), bearing), app.url);
    await isHeld(app, 1, bearing);
    const { headers } = await send(withHeaders(waitAt(0), bearing), app.url);
    expect(headers).toMatchObject({ "error-limit": "MAX_WAITING" });
    const other = startAsking(withHeaders(waitAt(0), ofBob), app.url);
    await isHeld(app, 2, bearing);
    for (const { hangUp } of [first, other]) hangUp();
    await isHeld(app, 0, bearing);
  });

  test("of one connection leave a fifth of MAX_CONCURRENT_STREAMS to other calls", async () => {
    await using app = await start({ MAX_CONCURRENT_STREAMS: "5" });
    const session = connectHttp2(app.url);
    const ask = (path: string) => session.request({ ":path": path });
    const waits = Array.from({ length: 4 }, () => ask(`/get_status/${jobs.pending}?wait=30s`));
    await isHeld(app, 4);
    const [shed] = await once(ask(`/get_status/${jobs.pending}?wait=30s`), "response");
    expect(shed).toMatchObject({ ":status": 503, "error-limit": "MAX_CONCURRENT_STREAMS" });
    const [lookup] = await once(ask(`/get_status/${jobs.pending}`), "response");
    expect(lookup).toMatchObject({ ":status": 200 });
    for (const wait of waits) wait.on("error", () => {});
    session.destroy();
    await isHeld(app, 0);
  });

  test.for(names)("on a connection that is too old are answered with the status as it is: $name", async ({
    index,
  }) => {
    await using app = await start({ MAX_CONNECTION_AGE: "50ms", MAX_CONNECTION_AGE_GRACE: "50ms" });
    const { status, headers, body } = await send(waitAt(index), app.url);
    expect(status).toBe(200);
    if (index < 2) expect(body.toString()).toContain('"status":"pending"');
    else expect(headers["grpc-status"]).toBe("0");
  });

  test.for(names)("are answered when the status is final: $name", async ({ index }) => {
    await using app = await start();
    const reqId = await insertJob(database.db);
    const answer = send(waitAt(index, reqId), app.url);
    await isHeld(app, 1);
    await finish(reqId);
    const { headers, body } = await answer;
    if (index < 2) expect(body.toString()).toContain('"status":"success"');
    else expect([headers["grpc-status"], body[6]]).toEqual(["0", GetStatusResponse_Status.success]);
    await isHeld(app, 0);
  });
});
