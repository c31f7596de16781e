import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { text } from "node:stream/consumers";
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
import { memoryAllowed, startTarget, type Target } from "./support.ts";

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
