import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { preface } from "../support/http2-frames.ts";
import { openPeer, type Peer } from "../support/peer.ts";
import { startTarget } from "./support.ts";

/** What one process may have open, ours and the service's alike, less what it needs besides. */
const filesAllowed =
  Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1]) - 500;
const wanted = 20_000;
const idle = Math.min(wanted, filesAllowed);

/** In KiB: an HTTP/2 connection that has said its preface takes most. */
const memoryEach = 64;

test(`${idle} idle connections${idle < wanted ? ` (of ${wanted}: no more files may be open)` : ""}`, async () => {
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

test("beyond MAX_CONNECTIONS they are closed at once, until others go", async () => {
  const most = 13;
  await using target = await startTarget({ MAX_CONNECTIONS: `${most}` });
  await target.honest.check();
  const peers: Peer[] = [];
  let isRefused = false;
  while (!isRefused) {
    const peer = await openPeer(target.serving.port);
    // One that has said nothing would be closed for others.
    peer.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    isRefused = await Promise.race([
      new Promise<boolean>((resolve) => peer.socket.once("data", () => resolve(false))),
      peer.closed.then((answer) => answer.length === 0),
    ]);
    if (!isRefused) peers.push(peer);
    expect(peers.length).toBeLessThan(most);
  }
  // The honest callers have three connections, or a few more.
  expect(peers.length).toBeGreaterThan(most - 8);
  await target.honest.check();

  for (const peer of peers) peer.socket.destroy();
  const answers = async () => (await fetch(`${target.serving.url}/healthz`).catch(() => undefined))?.status;
  await expect.poll(answers).toBe(200);
});
