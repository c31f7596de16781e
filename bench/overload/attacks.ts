import { randomUUID } from "node:crypto";
import { brotliCompressSync, gzipSync } from "node:zlib";
import {
  cancelledCalls,
  flag,
  frame,
  frameType,
  grpcCall,
  headerBlock,
  preface,
} from "../../test/support/http2-frames.ts";

/** An attack: what the client sends on a connection of its own, again and again. */
export interface Attack {
  /** The client opens many connections, sends this on each, and keeps all of them open. */
  readonly keepsOpen?: true;
  /** The client reads no answers. */
  readonly readsNothing?: true;
  /** The bytes in pieces. A function, since some take CPU that honest callers need: only the attack's own process makes them. */
  pieces(): readonly Uint8Array[];
}

const post =
  "POST /gomemory.status.v1.StatusService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/** The attacks by name, in the order in which the benchmark runs them. */
export const attacks: Readonly<Record<string, Attack>> = {
  "idle connections": {
    keepsOpen: true,
    pieces: () => [Buffer.from("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")],
  },
  "slow sender": { pieces: () => [Buffer.from(`${post}Content-Length: 100\r\n\r\n{`)] },
  "truncated messages": {
    pieces: () => [
      preface,
      frame(frameType.headers, flag.endHeaders, 1, grpcCall),
      frame(frameType.data, 0, 1, Buffer.alloc(3)),
    ],
  },
  "header flood": { pieces: () => [Buffer.from(`GET / HTTP/1.1\r\n${"X-Flood: 1\r\n".repeat(10_000)}`)] },
  "CONTINUATION flood": {
    pieces: () => [
      preface,
      frame(frameType.headers, 0, 1, grpcCall),
      ...Array<Buffer>(20).fill(
        frame(frameType.continuation, 0, 1, headerBlock({ "x-flood": "x".repeat(16_000) })),
      ),
    ],
  },
  "rapid resets": { pieces: () => [preface, cancelledCalls(5_000)] },
  "gzip bombs": { pieces: () => bomb("gzip", gzipSync) },
  "brotli bombs": { pieces: () => bomb("br", brotliCompressSync) },
  "never reads": {
    readsNothing: true,
    pieces: () => [Buffer.from(`GET /get_status/${randomUUID()} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(100))],
  },
};

function bomb(encoding: string, compress: (bytes: Buffer) => Buffer): Buffer[] {
  const body = compress(Buffer.alloc(32 * 2 ** 20));
  const head = `Content-Encoding: ${encoding}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
  return [Buffer.from(`${post}${head}`), body];
}
