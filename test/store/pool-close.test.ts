import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { expect, test } from "vitest";
import { openTestConnections } from "../support/store.ts";

// Closing of connections that are being opened.

/** Longer than a test may take, in milliseconds. */
const connectTimeout = 600_000;

test("a connection that is being opened does not delay the end, and its socket is closed", async () => {
  const sockets: Socket[] = [];
  await using server = createServer((socket) => void sockets.push(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const url = `postgres://service@127.0.0.1:${port}/status?sslmode=disable`;
  const connections = openTestConnections(url, 1, connectTimeout);
  const taken = expect(connections.take()).rejects.toThrow("the connections to the database are closed");
  await expect.poll(() => sockets).toHaveLength(1);
  await connections[Symbol.asyncDispose]();
  await taken;
  await Promise.all(sockets.map((socket) => socket.destroyed || once(socket.resume(), "close")));
});
