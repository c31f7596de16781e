import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { text } from "node:stream/consumers";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  cancelledCall,
  cancelledCalls,
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
} from "../support/http2-frames.ts";
import { openPeer, type Peer } from "../support/peer.ts";
import { startTarget, type Target } from "./support.ts";

/** In MiB. The growth of memory under a flood, including garbage that is not collected yet. */
const memoryAllowed = 150;
let target: Target;
let before: number;

beforeAll(async () => {
  target = await startTarget({
    PEER_TIMEOUT: "1s",
    MAX_CONCURRENT_STREAMS: "100",
    MAX_STREAM_RESETS: "1000",
  });
  await target.honest.check();
  before = target.memory();
});

afterAll(() => target[Symbol.asyncDispose]());

afterEach(async () => {
  await target.honest.check();
  expect(target.memory() - before).toBeLessThan(memoryAllowed);
});

describe("too many headers", () => {
  test("over HTTP/1.1 are refused with 431", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(`GET /healthz HTTP/1.1\r\nHost: x\r\n${"X-Flood: 1\r\n".repeat(100_000)}`);
    expect((await peer.closed).toString("latin1")).toMatch(/^($|HTTP\/1\.1 431 )/);
  });

  test("over HTTP/2 are refused with 431, and reset the stream alone when they are far too many", async () => {
    const session = connectHttp2(target.serving.url);
    await once(session, "remoteSettings");
    const over = session.request({ ":path": "/healthz", "x-flood": "x".repeat(17_000) });
    const [headers] = await once(over, "response");
    expect(headers[":status"]).toBe(431);
    const flood = session.request({
      ":path": "/healthz",
      "x-flood": "x".repeat(65_000),
      "x-more": "x".repeat(999),
    });
    await once(flood, "error");
    const fine = session.request({ ":path": "/healthz", "x-fine": "x".repeat(15_000) });
    expect(await text(fine)).toBe(`{"status":"alive"}`);
    session.close();
  });

  test("over HTTP/2 on hundreds of streams: answered or reset, as the connection's share of the memory allows", async () => {
    const session = connectHttp2(target.serving.url);
    const flood = Array.from({ length: 500 }, async () => {
      const stream = session.request({ ":path": "/healthz", "x-flood": "x".repeat(60_000) });
      const answered = once(stream.resume(), "response").then(([headers]) => headers[":status"]);
      return await answered.catch((error: Error) => error.message);
    });
    const outcomes = new Set(await Promise.all(flood));
    expect(outcomes).toContain(431);
    outcomes.delete(431);
    expect([...outcomes].join()).toMatch(/^(|Stream closed with error code NGHTTP2_ENHANCE_YOUR_CALM)$/);
    session.close();
  });

  test("as endless CONTINUATION frames: the connection is closed", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(Buffer.concat([preface, frame(frameType.headers, flag.endStream, 1, grpcCall)]));
    const more = frame(frameType.continuation, 0, 1, headerBlock({ "x-flood": "x".repeat(16_000) }));
    peer.send(Buffer.concat(Array(200).fill(more)));
    await peer.closed;
  });

  test("as endless trailers", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(
      "POST /gomemory.status.v1.StatusService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
        `Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n${"X-Flood: 1\r\n".repeat(100_000)}`,
    );
    expect((await peer.closed).toString("latin1")).toMatch(/^($|HTTP\/1\.1 4\d\d )/);
  });
});

describe("calls that are cancelled at once", () => {
  /** Sends as many as a connection may have at a time, and waits until the service has received them. */
  async function cancel(peer: Peer, first: number): Promise<void> {
    const calls = Array.from({ length: 100 }, (_, index) => cancelledCall(first + 2 * index));
    await peer.deliver(...calls);
  }

  test("thousands of them in one write end the connection", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(Buffer.concat([preface, cancelledCalls(20_000)]));
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm);
    await peer.closed;
  });

  test("more in a second than MAX_STREAM_RESETS end the connection", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(preface);
    const flood = (async () => {
      for (let first = 1; ; first += 200) await cancel(peer, first);
    })();
    await expect(flood).rejects.toThrow("the connection was closed");
    // nghttp2 chooses the code: ENHANCE_YOUR_CALM would be more precise.
    expect(await peer.goaway()).toBe(errorCode.internal);
  });

  test("hundreds of them are allowed", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(preface);
    for (let first = 1; first < 1_000; first += 200) await cancel(peer, first);
    peer.send(frame(frameType.headers, flag.endHeaders | flag.endStream, 1_001, restCall(target.reqId)));
    await peer.frame(({ type, stream }) => type === frameType.data && stream === 1_001);
  });
});

test("streams beyond MAX_CONCURRENT_STREAMS are refused, so that a client may try again", async () => {
  using peer = await openPeer(target.serving.port);
  const calls = Array.from({ length: 101 }, (_, index) =>
    frame(frameType.headers, flag.endHeaders, 2 * index + 1, grpcCall),
  );
  peer.send(preface);
  const { payload: announced } = await peer.frame(({ type }) => type === frameType.settings);
  expect(announced.includes(Buffer.from([0, setting.maxConcurrentStreams, 0, 0, 0, 100]))).toBe(true);
  // The limit holds although the client has not acknowledged it yet.
  peer.send(Buffer.concat(calls));
  const { stream, payload } = await peer.frame(({ type }) => type === frameType.resetStream);
  expect(stream).toBe(201);
  expect(payload.readUInt32BE()).toBe(errorCode.refusedStream);
});

describe("floods of frames whose answers the client does not read", () => {
  test.for([
    { name: "PING", flood: frame(frameType.ping, 0, 0, Buffer.alloc(8)) },
    { name: "SETTINGS", flood: settings(setting.initialWindowSize, 65_535) },
    { name: "empty DATA", flood: frame(frameType.data, 0, 1) },
    { name: "PRIORITY", flood: frame(frameType.priority, 0, 1, Buffer.from([0, 0, 0, 3, 0])) },
  ])("$name", async ({ flood }) => {
    using peer = await openPeer(target.serving.port);
    peer.socket.pause();
    peer.send(Buffer.concat([preface, frame(frameType.headers, flag.endHeaders, 1, grpcCall)]));
    peer.send(Buffer.concat(Array(100_000).fill(flood)));
    await target.honest.check();
  });
});

describe("messages", () => {
  const method = "/gomemory.status.v1.StatusService/GetStatus";
  const bomb = gzipSync(Buffer.alloc(32 * 2 ** 20));
  const prefixed = (isCompressed: number, length: number, body: Buffer) => {
    const prefix = Buffer.from([isCompressed, 0, 0, 0, 0]);
    prefix.writeUInt32BE(length, 1);
    return Buffer.concat([prefix, body]);
  };

  /** @returns the trailers of a gRPC call. */
  async function call(body: Buffer, headers: Record<string, string> = {}): Promise<Record<string, string>> {
    const session = connectHttp2(target.serving.url);
    const grpc = { ":method": "POST", ":path": method, "content-type": "application/grpc", te: "trailers" };
    const stream = session.request({ ...grpc, ...headers });
    // After its answer, the server resets a stream whose rest it need not read.
    stream.on("error", () => {});
    let status: Record<string, string> = {};
    for (const event of ["response", "trailers"]) {
      stream.on(event, (fields) => {
        if ("grpc-status" in fields) status = fields;
      });
    }
    stream.end(body);
    stream.resume();
    await once(stream, "close");
    session.destroy();
    return status;
  }

  const resourceExhausted = "8";
  const unimplemented = "12";
  test.for([
    { name: "a message with a length of 4 GiB", body: prefixed(0, 2 ** 32 - 1, Buffer.alloc(10)) },
    { name: "a message of 5 MiB", body: prefixed(0, 5 * 2 ** 20, Buffer.alloc(5 * 2 ** 20)) },
    { name: "a compression bomb", body: prefixed(1, bomb.length, bomb), encoding: "gzip" },
  ])("gRPC: $name is too large", async ({ body, encoding }) => {
    const trailers = await call(body, encoding === undefined ? {} : { "grpc-encoding": encoding });
    expect(trailers["grpc-status"]).toBe(resourceExhausted);
  });

  test.for([
    { name: "a truncated message", body: prefixed(0, 38, Buffer.from([0x0a, 36, 0x30])) },
    { name: "a truncated prefix", body: Buffer.from([0, 0]) },
    { name: "an empty body", body: Buffer.alloc(0) },
  ])("gRPC: $name is a mistake of the caller's", async ({ body }) => {
    // INVALID_ARGUMENT, or UNIMPLEMENTED for "no message", as gRPC's own servers answer.
    expect((await call(body))["grpc-status"]).toMatch(/^(3|12)$/);
  });

  test.for([
    { name: "a message of 5 MiB", body: Buffer.alloc(5 * 2 ** 20), headers: {} },
    { name: "a compression bomb", body: bomb, headers: { "Content-Encoding": "gzip" } },
  ])("Connect: $name is too large", async ({ body, headers }) => {
    const response = await fetch(target.serving.url + method, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: new Uint8Array(body),
    });
    expect(response.status).toBe(429);
    expect(await response.json()).toMatchObject({ code: "resource_exhausted" });
  });

  describe("Brotli, whose decoder takes 16 MiB for 27 bytes, is not supported, and the answer names gzip", () => {
    const brotli = brotliCompressSync("{}");
    const wanted = expect.stringContaining("gzip");

    test("gRPC", async () => {
      const trailers = await call(prefixed(1, brotli.length, brotli), { "grpc-encoding": "br" });
      expect(trailers).toMatchObject({ "grpc-status": unimplemented, "grpc-message": wanted });
    });

    test("Connect", async () => {
      const response = await fetch(target.serving.url + method, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Content-Encoding": "br" },
        body: new Uint8Array(brotli),
      });
      expect(response.status).toBe(501);
      expect(await response.json()).toMatchObject({ code: "unimplemented", message: wanted });
    });
  });

  test("a malformed body after its answer ends only its connection", async () => {
    using peer = await openPeer(target.serving.port);
    peer.send(
      `OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nPOST ${method} HTTP/1.1\r\nHost: x\r\n` +
        "Content-Type: application/x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
    );
    await peer.closed;
  });

  test("fifty bombs at once", async () => {
    const calls = Array.from({ length: 50 }, () =>
      call(prefixed(1, bomb.length, bomb), { "grpc-encoding": "gzip" }),
    );
    for (const trailers of await Promise.all(calls)) expect(trailers["grpc-status"]).toBe(resourceExhausted);
  });
});
