/** A peer that means no good, over and over until this process is ended: `node bench/hostile.ts <port> <kind>`. */
import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { flag, frame, frameType, grpcCall, headerBlock, preface } from "../test/support/http2-frames.ts";
import { openPeer } from "../test/support/peer.ts";

const port = Number(process.argv[2]);
const idleConnections = 2_000;
/** Between two attacks of a kind, in milliseconds. */
const breath = 200;

const cancelledCalls = Buffer.concat(
  Array.from({ length: 5_000 }, (_, index) =>
    Buffer.concat([
      frame(frameType.headers, flag.endHeaders, 2 * index + 1, grpcCall),
      frame(frameType.resetStream, 0, 2 * index + 1, Buffer.from([0, 0, 0, 8])),
    ]),
  ),
);
const continuation = frame(frameType.continuation, 0, 1, headerBlock({ "x-flood": "x".repeat(16_000) }));
const bomb = gzipSync(Buffer.alloc(64 * 2 ** 20));
const post =
  "POST /gomemory.status.v1.StatusService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

const attacks: Readonly<Record<string, readonly Uint8Array[]>> = {
  "header flood": [Buffer.from(`GET / HTTP/1.1\r\n${"X-Flood: 1\r\n".repeat(10_000)}`)],
  "slow sender": [Buffer.from(`${post}Content-Length: 100\r\n\r\n{`)],
  "compression bombs": [
    Buffer.from(
      `${post}Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: ${bomb.length}\r\n\r\n`,
    ),
    bomb,
  ],
  "rapid resets": [preface, cancelledCalls],
  "CONTINUATION flood": [
    preface,
    frame(frameType.headers, 0, 1, grpcCall),
    ...Array<Buffer>(20).fill(continuation),
  ],
  "truncated messages": [
    preface,
    frame(frameType.headers, flag.endHeaders, 1, grpcCall),
    frame(frameType.data, 0, 1, Buffer.alloc(3)),
  ],
};

const kind = process.argv[3] ?? "";
const pieces = attacks[kind];
if (pieces === undefined) {
  if (kind !== "idle connections") throw new Error(`there is no ${kind}`);
  for (let count = 0; count < idleConnections; count++) {
    const peer = await openPeer(port);
    peer.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  }
}
for (;;) {
  if (pieces !== undefined) {
    const peer = await openPeer(port);
    for (const piece of pieces) peer.send(Buffer.from(piece));
    await Promise.race([peer.closed, pause(5 * breath)]);
    peer.socket.destroy();
  }
  await pause(breath);
}
