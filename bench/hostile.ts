/**
 * A peer that means no good, over and over until this process is ended: `node bench/hostile.ts <port> <kind>`. Writes a
 * line when it begins. With port 0, it plays with a server of its own: what it costs whoever shares its CPU, without
 * what it does to the service.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { brotliCompressSync, gzipSync } from "node:zlib";
import {
  cancelledCalls,
  flag,
  frame,
  frameType,
  grpcCall,
  headerBlock,
  preface,
} from "../test/support/http2-frames.ts";
import { openPeer } from "../test/support/peer.ts";

const port = process.argv[2] === "0" ? await startOwnServer() : Number(process.argv[2]);
const idleConnections = 2_000;
/** Between two attacks of a kind, in milliseconds. */
const breath = 200;

const post =
  "POST /gomemory.status.v1.StatusService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/** What is sent in each attack. Made by whoever needs it: the honest callers are on the same CPU. */
const attacks: Readonly<Record<string, () => readonly Uint8Array[]>> = {
  "header flood": () => [Buffer.from(`GET / HTTP/1.1\r\n${"X-Flood: 1\r\n".repeat(10_000)}`)],
  "slow sender": () => [Buffer.from(`${post}Content-Length: 100\r\n\r\n{`)],
  "gzip bombs": () => bombs("gzip", gzipSync),
  "brotli bombs": () => bombs("br", brotliCompressSync),
  "rapid resets": () => [preface, cancelledCalls(5_000)],
  "CONTINUATION flood": () => [
    preface,
    frame(frameType.headers, 0, 1, grpcCall),
    ...Array<Buffer>(20).fill(
      frame(frameType.continuation, 0, 1, headerBlock({ "x-flood": "x".repeat(16_000) })),
    ),
  ],
  "truncated messages": () => [
    preface,
    frame(frameType.headers, flag.endHeaders, 1, grpcCall),
    frame(frameType.data, 0, 1, Buffer.alloc(3)),
  ],
  "never reads": () => [
    Buffer.from(`GET /get_status/${randomUUID()} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(100)),
  ],
};

function bombs(encoding: string, compress: (bytes: Buffer) => Buffer): Buffer[] {
  const bomb = compress(Buffer.alloc(32 * 2 ** 20));
  const head = `Content-Encoding: ${encoding}\r\nConnection: close\r\nContent-Length: ${bomb.length}\r\n\r\n`;
  return [Buffer.from(`${post}${head}`), bomb];
}

/** Hangs up on whoever sends much, as the service does, and lets all others wait. @returns its port. */
async function startOwnServer(): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => {
      if (socket.bytesRead > 16_384) socket.destroy();
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

const kind = process.argv[3] ?? "";
const pieces = attacks[kind]?.();
if (pieces === undefined) {
  if (kind !== "idle connections") throw new Error(`there is no ${kind}`);
  for (let count = 0; count < idleConnections; count++) {
    const peer = await openPeer(port);
    peer.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  }
}
process.stdout.write("ready\n");
for (;;) {
  if (pieces !== undefined) {
    const peer = await openPeer(port);
    if (kind === "never reads") peer.socket.pause();
    for (const piece of pieces) peer.send(Buffer.from(piece));
    await Promise.race([peer.closed, pause(5 * breath)]);
    peer.socket.destroy();
  }
  await pause(breath);
}
