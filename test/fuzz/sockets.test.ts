import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { flag, frame, frameType, grpcCall, headerBlock, preface, settings } from "../support/http2-frames.ts";
import { openPeer } from "../support/peer.ts";
import { type Fuzzed, startFuzzed } from "./fuzzed.ts";

let fuzzed: Fuzzed;

beforeAll(async () => {
  // The timeouts close connections whose last request or frame is incomplete.
  fuzzed = await startFuzzed({ PEER_TIMEOUT: "1s", IDLE_TIMEOUT: "1s" });
});

afterAll(() => fuzzed[Symbol.asyncDispose]());

/** Sends pieces, one after the other, and ends. @returns the server's bytes until it closed the connection. */
async function talk(pieces: readonly Uint8Array[]): Promise<Buffer> {
  using peer = await openPeer(fuzzed.serving.port);
  for (const piece of pieces) await new Promise<void>((resolve) => peer.socket.write(piece, () => resolve()));
  peer.socket.end();
  return await peer.closed;
}

/** Bytes with some of them changed, removed or added, in pieces. */
function damaged(text: fc.Arbitrary<Buffer>): fc.Arbitrary<Uint8Array[]> {
  const change = fc.record({ at: fc.nat(), length: fc.nat(8), by: fc.uint8Array({ maxLength: 8 }) });
  return fc
    .tuple(text, fc.array(change, { maxLength: 3 }), fc.array(fc.nat(), { maxLength: 4 }))
    .map(([start, changes, cuts]) => {
      const bytes = changes.reduce((before, { at, length, by }) => {
        const from = at % (before.length + 1);
        return Buffer.concat([before.subarray(0, from), by, before.subarray(from + length)]);
      }, start);
      const ends = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
      return [...ends, bytes.length].map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
    });
}

const http1 = fc
  .constantFrom(
    "GET /get_status/0b1cda3c-9a5f-4b7e-8f2d-1c0a9b8e7d6f HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /healthz HTTP/1.0\r\n\r\n",
    "HEAD http://x/get_status/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "POST /gomemory.status.v1.StatusService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
    'POST /gomemory.status.v1.StatusService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"req\r\n8;x=y\r\nId":"a"}\r\n0\r\nX-Trailer: 1\r\n\r\n',
    "POST /gomemory.status.v1.StatusService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/connect+json\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  )
  .map((text) => Buffer.from(text));
const pipelined = fc.array(http1, { minLength: 1, maxLength: 5 }).map((requests) => Buffer.concat(requests));

test("HTTP/1.1: damaged requests, in pieces and in pipelines", async (context) => {
  await fuzzed.withstands(context, damaged(pipelined), [50, 120], async (batch) => {
    const answers = await Promise.all(batch.map(talk));
    answers.forEach((answer, index) => {
      const input = JSON.stringify(Buffer.concat(batch[index] as Uint8Array[]).toString("latin1"));
      const text = answer.toString("latin1");
      // Damage can turn the first bytes into HTTP/2's preface, which the server answers with SETTINGS.
      if (answer[3] === frameType.settings) return;
      expect(text, input).toMatch(/^($|HTTP\/1\.1 \d{3} )/);
      for (const [, status = "", head = ""] of text.matchAll(/^HTTP\/1\.1 (\d{3}) ([\s\S]*?)\r\n\r\n/gm)) {
        if (status.startsWith("5"))
          expect(`${status} ${head}`, input).toMatch(/^500 [\s\S]*Error-Reason: STATUS_NOT_FOUND/);
      }
    });
  });
});

const block = fc.oneof(
  fc.constant(grpcCall),
  fc.constant(headerBlock({ ":method": "GET", ":scheme": "http", ":path": "/healthz", ":authority": "x" })),
  // Random bytes: most are not valid HPACK.
  fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
);
const stream = fc.constantFrom(1, 1, 1, 3, 3, 5, 0, 2, 2 ** 31 - 1);
const anyFrame = fc.oneof(
  fc
    .tuple(block, stream, fc.constantFrom(flag.endHeaders, flag.endHeaders | flag.endStream, 0, 0x2d))
    .map(([payload, id, flags]) => frame(frameType.headers, flags, id, payload)),
  fc
    .tuple(fc.uint8Array({ maxLength: 60 }), stream, fc.constantFrom(0, flag.endStream, 8))
    .map(([payload, id, flags]) => frame(frameType.data, flags, id, payload)),
  fc
    .tuple(fc.integer({ min: 0, max: 12 }), fc.nat(255), stream, fc.uint8Array({ maxLength: 40 }))
    .map(([type, flags, id, payload]) => frame(type, flags, id, payload)),
  fc.constant(settings()),
);
const http2 = fc
  .array(anyFrame, { maxLength: 8 })
  .map((frames) => Buffer.concat([preface, ...frames, frame(frameType.goaway, 0, 0, Buffer.alloc(8))]));

test("HTTP/2: any frames, bad HPACK, damaged and in pieces", async (context) => {
  const plain = http2.map((bytes): Uint8Array[] => [bytes]);
  await fuzzed.withstands(context, fc.oneof(plain, damaged(http2)), [400, 15], async (batch) => {
    await Promise.all(batch.map(talk));
  });
});

test("neither protocol: any bytes", async (context) => {
  const bytes = fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 3 });
  await fuzzed.withstands(context, bytes, [200, 15], async (batch) => {
    for (const answer of await Promise.all(batch.map(talk))) {
      expect(answer.toString("latin1")).toMatch(/^($|HTTP\/1\.1 400 )/);
    }
  });
});
