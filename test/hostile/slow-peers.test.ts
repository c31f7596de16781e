import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { HealthCheckRequestSchema } from "../../src/gen/health/v1/health_pb.ts";
import {
  errorCode,
  flag,
  frame,
  frameType,
  grpcCall,
  headerBlock,
  preface,
  restCall,
  setting,
  settings,
  uint32,
} from "../support/http2-frames.ts";
import { metricValue } from "../support/metric.ts";
import { openPeer } from "../support/peer.ts";
import { startTarget, type Target } from "./support.ts";

const peerTimeout = 600;
const idleTimeout = 1_200;
let target: Target;

beforeAll(async () => {
  target = await startTarget({
    PEER_TIMEOUT: `${peerTimeout}ms`,
    IDLE_TIMEOUT: `${idleTimeout}ms`,
    KEEPALIVE_TIME: "500ms",
    KEEPALIVE_TIMEOUT: "500ms",
  });
});

afterAll(() => target[Symbol.asyncDispose]());

afterEach(() => target.honest.check());

const post = (type: string) =>
  `POST /gomemory.status.v1.StatusService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: ${type}\r\n`;

describe("a slow sender over HTTP/1.1 is disconnected after PEER_TIMEOUT", () => {
  const peers = [
    { name: "half a request line", first: "GET /get_st" },
    { name: "headers that never end", first: "GET / HTTP/1.1\r\n", drip: "X-Slow: 1\r\n" },
    { name: "a body that never comes", first: `${post("application/json")}Content-Length: 90\r\n\r\n` },
    {
      name: "a body, byte by byte",
      first: `${post("application/json")}Content-Length: 10000\r\n\r\n`,
      drip: " ",
    },
    {
      name: "chunks, byte by byte",
      // The prefix announces a message of 16 KiB.
      first: `${post("application/grpc-web+proto")}Transfer-Encoding: chunked\r\n\r\n5\r\n\0\0\0\x40\0\r\n`,
      drip: "1\r\n\0\r\n",
    },
  ];
  test.for(peers)("$name", async ({ first, drip }) => {
    using peer = await openPeer(target.serving.port);
    peer.send(first);
    if (drip !== undefined) peer.drip(drip.repeat(10_000), 10);
    expect((await peer.closed).toString("latin1")).toMatch(/^($|HTTP\/1\.1 408 )/);
  });
});

describe("the stream of a slow sender over HTTP/2 is reset after PEER_TIMEOUT", () => {
  const peers = [
    { name: "gRPC, no message", headers: grpcCall },
    { name: "gRPC, half a message", headers: grpcCall, data: Buffer.from([0, 0, 0, 0, 38, 0x0a]) },
    { name: "gRPC, a message without an end", headers: grpcCall, data: Buffer.from([0, 0, 0, 0, 0]) },
    { name: "gRPC, byte by byte", headers: grpcCall, drip: true },
    {
      name: "Connect, half a message",
      headers: headerBlock({
        ":method": "POST",
        ":scheme": "http",
        ":path": "/gomemory.status.v1.StatusService/GetStatus",
        ":authority": "test",
        "content-type": "application/json",
      }),
      data: Buffer.from("{"),
    },
  ];
  test.for(peers)("$name", async ({ headers, data, drip }) => {
    using peer = await openPeer(target.serving.port);
    peer.send(Buffer.concat([preface, frame(frameType.headers, flag.endHeaders, 1, headers)]));
    if (data !== undefined) peer.send(frame(frameType.data, 0, 1, data));
    // A message of 10,000 bytes, in frames of one byte.
    let sent = 0;
    const prefix = [0, 0, 0, 0x27, 0x10];
    const timer = setInterval(() => {
      if (drip) peer.send(frame(frameType.data, 0, 1, Buffer.from([prefix[sent++] ?? 0])));
    }, 10);
    const { payload } = await peer.frame(({ type }) => type === frameType.resetStream);
    clearInterval(timer);
    expect(payload.readUInt32BE()).toBe(errorCode.cancel);
  });

  test("half a header block: the connection is closed as idle", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(Buffer.concat([preface, settings(), frame(frameType.headers, 0, 1, grpcCall.subarray(0, 20))]));
    await peer.closed;
  });
});

describe("a peer that never reads its answers", () => {
  test("over HTTP/1.1 is disconnected, and its requests wait until then", async () => {
    const before = target.memory();
    using peer = await openPeer(target.serving.port);
    peer.socket.pause();
    const requests = Buffer.from(`GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(1_000));
    // More than the kernel's buffers hold: a client that still has something to send notices that the connection is gone.
    for (let sent = 0; sent < 500; sent++) peer.send(requests);
    await peer.closed;
    expect(target.memory() - before).toBeLessThan(100);
  });

  test("over HTTP/2, with a window of 0, has its stream reset", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(Buffer.concat([preface, settings(setting.initialWindowSize, 0)]));
    peer.send(frame(frameType.headers, flag.endHeaders | flag.endStream, 1, restCall(target.reqId)));
    const { payload } = await peer.frame(({ type }) => type === frameType.resetStream);
    expect(payload.readUInt32BE()).toBe(errorCode.cancel);
  });

  test("over HTTP/2, on a socket that it does not read, is disconnected", async () => {
    const before = target.memory();
    using peer = await openPeer(target.serving.port);
    peer.socket.pause();
    peer.send(preface);
    const path = headerBlock({
      ":method": "GET",
      ":scheme": "http",
      ":path": "/metrics",
      ":authority": "test",
    });
    peer.send(frame(frameType.windowUpdate, 0, 0, uint32(2 ** 30)));
    for (let stream = 1; stream < 400; stream += 2) {
      peer.send(frame(frameType.headers, flag.endHeaders | flag.endStream, stream, path));
    }
    // A client that reads nothing notices that the connection is gone when it sends something.
    peer.drip(frame(frameType.ping, 0, 0, Buffer.alloc(8)).toString("latin1").repeat(1_000), 5);
    await peer.closed;
    expect(target.memory() - before).toBeLessThan(100);
  });
});

/** Of those that a client may have open: 80 % of MAX_CONCURRENT_STREAMS may be watches. */
const watchesEach = 80;

test("240 watches whose clients read nothing are ended, and their connections closed", async () => {
  const watching = async () => {
    const metrics = await (await fetch(`${target.serving.url}/metrics`)).text();
    const labels = { rpc_system_name: "grpc", rpc_method: "grpc.health.v1.Health/Watch" };
    return metricValue(metrics, "rpc_server_calls_in_flight", labels);
  };
  const path = headerBlock({
    ":method": "POST",
    ":scheme": "http",
    ":path": "/grpc.health.v1.Health/Watch",
    ":authority": "test",
    "content-type": "application/grpc",
    te: "trailers",
  });
  using peers = new DisposableStack();
  for (let connection = 0; connection < 3; connection++) {
    const peer = peers.use(await openPeer(target.serving.port));
    peer.socket.pause();
    peer.send(preface);
    for (let stream = 1; stream < 2 * watchesEach; stream += 2) {
      peer.send(frame(frameType.headers, flag.endHeaders, stream, path));
      peer.send(frame(frameType.data, flag.endStream, stream, Buffer.alloc(5)));
    }
  }
  await expect.poll(watching, { interval: 5, timeout: 10_000 }).toBe(3 * watchesEach);
  await expect.poll(watching, { interval: 50, timeout: 20_000 }).toBe(0);
});

describe("an idle connection is closed", () => {
  test("HTTP/1.1", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(`GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect((await peer.closed).toString("latin1")).toMatch(/^HTTP\/1\.1 200 /);
  });

  test("HTTP/2, with GOAWAY", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(preface);
    expect(await peer.goaway()).toBe(0);
    await peer.closed;
  });

  test("HTTP/2, but not while a stream is open on it, even without traffic", async () => {
    const session = connectHttp2(target.serving.url);
    const watch = session.request({
      ":method": "POST",
      ":path": "/grpc.health.v1.Health/Watch",
      "content-type": "application/grpc",
      te: "trailers",
    });
    const message = toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema, {}));
    watch.end(Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]));
    await once(watch, "data");
    // Longer than every timeout of the service. The honest callers' calls fill the time.
    const until = performance.now() + 2 * (peerTimeout + idleTimeout);
    while (performance.now() < until) await target.honest.check();
    expect(watch.destroyed || session.closed).toBe(false);
    const goaway = once(session, "goaway");
    watch.close();
    await goaway;
  });
});
