import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { preface } from "../support/http2-frames.ts";
import { openPeer, type Peer } from "../support/peer.ts";
import { startTarget } from "./support.ts";

/** The limit on open files of one process (the test's and the service's alike), less those that it needs otherwise. */
const filesAllowed =
  Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1]) - 500;
const wanted = 20_000;
const idle = Math.min(wanted, filesAllowed);

/** In KiB. An HTTP/2 connection after its preface takes most. */
const memoryEach = 64;

test(`${idle} idle connections${idle < wanted ? ` (of ${wanted}: the limit on open files)` : ""}`, async () => {
  await using target = await startTarget({ IDLE_TIMEOUT: "10m", MAX_CONNECTIONS: `${wanted}` });
  using opened = new DisposableStack();
  const before = target.memory();
  const openOne = async (index: number) => {
    const peer = opened.use(await openPeer(target.serving.port, `127.0.0.${2 + (index % 50)}`));
    if (index % 4 === 0) {
      peer.send(preface);
      await peer.frame(() => true);
    } else {
      peer.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
      await new Promise((resolve) => peer.socket.once("data", resolve));
    }
  };
  for (let index = 0; index < idle; index += 100) {
    await Promise.all(
      Array.from({ length: Math.min(100, idle - index) }, (_, each) => openOne(index + each)),
    );
  }
  await target.honest.check();
  expect(target.memory() - before).toBeLessThan((idle * memoryEach) / 1024);
}, 120_000);

test("connections beyond MAX_CONNECTIONS are closed at once, until others have been closed", async () => {
  const maxConnections = 13;
  await using target = await startTarget({ MAX_CONNECTIONS: `${maxConnections}` });
  await target.honest.check();
  const peers: Peer[] = [];
  let isRefused = false;
  while (!isRefused) {
    const peer = await openPeer(target.serving.port);
    // An idle connection without a request would be closed in favour of others.
    peer.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    isRefused = await Promise.race([
      new Promise<boolean>((resolve) => peer.socket.once("data", () => resolve(false))),
      peer.closed.then((answer) => answer.length === 0),
    ]);
    if (!isRefused) peers.push(peer);
    expect(peers.length).toBeLessThan(maxConnections);
  }
  // The honest callers have three connections, or a few more.
  expect(peers.length).toBeGreaterThan(maxConnections - 8);
  await target.honest.check();

  for (const peer of peers) peer.socket.destroy();
  const answers = async () => (await fetch(`${target.serving.url}/healthz`).catch(() => undefined))?.status;
  await expect.poll(answers).toBe(200);
});
