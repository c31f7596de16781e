import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Limits } from "../../src/server/limits.ts";
import { type Listener, listen } from "../../src/server/listener.ts";
import { type Authority, createAuthority } from "../support/certificates.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { openPeer, type Peer } from "../support/peer.ts";

const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const never = 3_600_000;
let folder: Folder;
let authority: Authority;
let files: { cert: string; key: string };

beforeAll(async () => {
  folder = await createFolder();
  authority = await createAuthority("Tests of idle connections");
  const { cert, key } = await authority.issue("server", "localhost");
  files = { cert: await folder.write("server.crt", cert), key: await folder.write("server.key", key) };
});

afterAll(() => folder[Symbol.asyncDispose]());

function start(over: string, limits: Limits): Promise<Listener> {
  return listen({
    host: "127.0.0.1",
    port: 0,
    shutdownTimeout: 1_000,
    limits,
    ...(over === "TLS" && { tls: { files, onReload: () => {} } }),
    handler: (_request, response) => void response.end("answered"),
  });
}

/** Calls on a connection that was opened before. */
async function callOn({ socket }: Peer, over: string): Promise<string> {
  const bytes = `${request.trimEnd()}\r\nConnection: close\r\n\r\n`;
  if (over !== "TLS") {
    socket.write(bytes);
    return await text(socket);
  }
  socket.removeAllListeners("data");
  const secured = connectTls({ socket, servername: "localhost", ca: authority.cert });
  secured.write(bytes);
  return await text(secured);
}

describe.for(["TCP", "TLS"])("a connection that is opened ahead of its first call, over %s", (over) => {
  test("may be idle for longer than PEER_TIMEOUT, and its first call is served", async () => {
    await using listener = await start(over, { peerTimeout: 50, idleTimeout: never });
    using idle = await openPeer(listener.address.port);
    // Clients that send half a request, or half a handshake, are dropped meanwhile: two of them, one after the other.
    for (let round = 0; round < 2; round++) {
      using slow = await openPeer(listener.address.port);
      slow.send(over === "TLS" ? Buffer.from("160301", "hex") : "GE");
      await slow.closed;
    }
    expect(await callOn(idle, over)).toContain("answered");
  });

  test("is closed after IDLE_TIMEOUT", async () => {
    await using listener = await start(over, { peerTimeout: never, idleTimeout: 50 });
    using idle = await openPeer(listener.address.port);
    expect(await idle.closed).toEqual(Buffer.alloc(0));
  });
});

test("a response announces IDLE_TIMEOUT, so that the client sends no call on a connection that is being closed", async () => {
  await using listener = await start("TCP", { idleTimeout: 65_000 });
  const { headers } = await fetch(`http://127.0.0.1:${listener.address.port}`);
  expect(headers.get("keep-alive")).toBe("timeout=65");
});

describe("above 80 % of MAX_CONNECTIONS", () => {
  test("the oldest idle connection is closed first, and connections with calls stay", async () => {
    await using listener = await start("TCP", { maxConnections: 10, idleTimeout: never });
    const { port } = listener.address;
    using busy = await openPeer(port);
    busy.send(request);
    await once(busy.socket, "data");
    const idle: Peer[] = [];
    for (let count = 0; count < 7; count++) idle.push(await openPeer(port));
    // The threshold is reached: each further connection closes the oldest idle one.
    for (let more = 0; more < 3; more++) {
      idle.push(await openPeer(port));
      await idle[more]?.closed;
    }
    busy.send(request);
    await once(busy.socket, "data");
    expect(idle.slice(3).map(({ socket }) => socket.destroyed)).toEqual(Array(7).fill(false));
    for (const { socket } of idle) socket.destroy();
  });

  test("connections that are opened together and send at once are all served", async () => {
    await using listener = await start("TCP", { maxConnections: 100, idleTimeout: never });
    const call = async () => {
      const socket = connect(listener.address.port, "127.0.0.1");
      socket.write(request);
      const [answer] = await once(socket, "data");
      return { socket, answer: String(answer) };
    };
    const answers = await Promise.all(Array.from({ length: 95 }, call));
    expect(answers.filter(({ answer }) => answer.includes("answered"))).toHaveLength(95);
    for (const { socket } of answers) socket.destroy();
  });

  test.for([
    { over: "TCP" },
    { over: "TLS" },
  ])("idle connections do not keep other clients from connecting, over $over", async ({ over }) => {
    await using listener = await start(over, { maxConnections: 50, idleTimeout: never });
    const { port } = listener.address;
    const idle = await Promise.all(Array.from({ length: 500 }, () => openPeer(port)));
    using other = await openPeer(port);
    expect(await callOn(other, over)).toContain("answered");
    for (const { socket } of idle) socket.destroy();
  });
});
