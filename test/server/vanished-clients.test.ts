import { setTimeout as pause } from "node:timers/promises";
import { expect, test } from "vitest";
import { Call, callerGone } from "../../src/status/call.ts";
import { createHolds } from "../../src/status/holds.ts";
import { createEndlessWatch, watches } from "../support/endless-watch.ts";
import { flag, frame, frameType, headerBlock, preface } from "../support/http2-frames.ts";
import { openPeer } from "../support/peer.ts";
import { serveEndpoints } from "../support/serve.ts";

const limits = { keepAliveTime: 150, keepAliveTimeout: 150 };
const streamsEach = 100;
const heartbeat = 20;

const [{ asked }] = watches as [(typeof watches)[number]];
const headers = headerBlock({
  ":method": "POST",
  ":scheme": "http",
  ":path": asked.path,
  ":authority": "test",
  "content-type": "application/grpc",
  te: "trailers",
});
const watchOn = (stream: number) =>
  Buffer.concat([
    frame(frameType.headers, flag.endHeaders, stream, headers),
    frame(frameType.data, flag.endStream, stream, asked.body as Buffer),
  ]);

test.for([
  { name: "fast path", withFastPath: true },
  { name: "Connect's adapter", withFastPath: false },
])("clients that vanish without FIN are found by PINGs, whatever is written to them, and leave nothing: $name", async ({
  withFastPath,
}) => {
  const watch = createEndlessWatch(1, () => pause(heartbeat));
  const holds = createHolds({ maxWaiting: 2 * streamsEach, maxConcurrentStreams: 2 * streamsEach });
  await using service = await serveEndpoints([watch.endpoint], { withFastPath, limits, holds });
  using peers = new DisposableStack();
  const opened = [];
  for (let connection = 0; connection < 2; connection++) {
    const peer = peers.use(await openPeer(service.address.port));
    const streams = Array.from({ length: streamsEach }, (_, index) => watchOn(2 * index + 1));
    peer.send(Buffer.concat([preface, ...streams]));
    opened.push(peer);
  }
  await expect.poll(() => watch.open, { interval: 5 }).toBe(4 * streamsEach);
  expect(holds.count("watch")).toBe(2 * streamsEach);
  expect(holds.enter(new Call(), "watch")).toBe("MAX_WAITING");

  for (const peer of opened) {
    await peer.closed;
    expect(peer.frames.filter(({ type }) => type === frameType.data).length).toBeGreaterThan(streamsEach);
    expect(peer.frames.some(({ type, flags }) => type === frameType.ping && flags === 0)).toBe(true);
  }
  await expect.poll(() => watch.open, { interval: 5 }).toBe(0);
  expect(new Set(watch.reasons)).toEqual(new Set([callerGone]));
  expect(holds.count("watch")).toBe(0);
  expect(holds.enter(new Call(), "watch")).not.toBe("MAX_WAITING");
});
