import { once } from "node:events";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import type { Call } from "../../src/status/call.ts";
import { slowConsumer } from "../../src/status/errors.ts";
import { createEndlessWatch, openStalled, takesFastPath, watches } from "../support/endless-watch.ts";
import { openPeer } from "../support/peer.ts";
import { serveEndpoints } from "../support/serve.ts";

const limits = { peerTimeout: 200, idleTimeout: 60_000 };

/** Waits for longer than the timeout: until a client that sends half a request is disconnected. */
async function peerTimeoutPasses(port: number): Promise<void> {
  for (let times = 0; times < 2; times++) {
    using peer = await openPeer(port);
    peer.send("GET /get_st");
    await peer.closed;
  }
}

test.for(
  watches,
)("a client that does not read a watch has until SLOW_CONSUMER, and PEER_TIMEOUT after that: $name", async (call) => {
  const watch = createEndlessWatch(50_000);
  const withFastPath = takesFastPath(call);
  await using service = await serveEndpoints([watch.endpoint], { withFastPath, limits });
  const client = await openStalled(call, service.url);
  await watch.stalls();
  await peerTimeoutPasses(service.address.port);
  expect(watch.open).toBe(2);
  const [held] = watch.calls as [Call];
  // A client that reads nothing does not learn that its connection is closed.
  const closed = call.version === "2" ? client.closed : once(held.connection as Socket, "close");
  held.cancel(slowConsumer);
  await closed;
  expect(watch.open).toBe(0);
  client.reset();
});
