import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Listener, listen } from "../../src/server/listener.ts";
import {
  cancelledCall,
  cancelledCalls,
  errorCode,
  flag,
  frame,
  frameType,
  grpcCall,
  preface as http2Preface,
} from "../support/http2-frames.ts";
import { openPeer } from "../support/peer.ts";

let listener: Listener;

beforeAll(async () => {
  listener = await listen({
    host: "127.0.0.1",
    port: 0,
    shutdownTimeout: 1_000,
    limits: { peerTimeout: 100, idleTimeout: 3_600_000 },
    handler: (request, response) => {
      response.writeHead(200, { "X-Version": request.httpVersion });
      response.end(request.url ?? "");
    },
  });
});

afterAll(() => listener[Symbol.asyncDispose]());

async function open(): Promise<Socket> {
  const socket = connect(listener.address.port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

describe("a client whose first bytes do not identify its protocol is dropped after PEER_TIMEOUT", () => {
  test.for([
    { name: "one byte of either protocol", bytes: "P" },
    { name: "two bytes", bytes: "PR" },
    { name: "HTTP/2, half a preface", bytes: preface.slice(0, 10) },
    { name: "HTTP/2, the preface alone", bytes: preface },
  ])("$name", async ({ bytes }) => {
    const socket = await open();
    socket.resume();
    if (bytes !== "") socket.write(bytes);
    await once(socket, "close");
  });
});

test("a client that ends its sending side in the middle of an HTTP/2 request is gone: the connection is closed", async () => {
  using peer = await openPeer(listener.address.port);
  await peer.deliver(http2Preface, frame(frameType.headers, flag.endHeaders, 1, grpcCall));
  peer.socket.end();
  await peer.closed;
});

describe("a client that cancels its calls at once and begins others (rapid reset)", () => {
  const limit = 10;
  let begun: number;
  let limited: Listener;
  const count = () => begun++;

  beforeAll(async () => {
    limited = await listen({
      host: "127.0.0.1",
      port: 0,
      shutdownTimeout: 1_000,
      limits: { maxConcurrentStreams: limit, maxStreamResets: 100_000 },
      handler: (_request, response) => void response.end(),
    });
    subscribe("http2.server.stream.created", count);
  });

  afterAll(async () => {
    unsubscribe("http2.server.stream.created", count);
    await limited[Symbol.asyncDispose]();
  });

  beforeEach(() => {
    begun = 0;
  });

  test.for([
    { name: "at the beginning of a connection", isOpen: false },
    { name: "on a connection that is open", isOpen: true },
  ])("in one piece, $name: the first call beyond the limit ends the connection", async ({ isOpen }) => {
    using peer = await openPeer(limited.address.port);
    if (isOpen) await peer.deliver(http2Preface);
    peer.send(Buffer.concat([...(isOpen ? [] : [http2Preface]), cancelledCalls(1_000)]));
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm);
    await peer.closed;
    expect(begun).toBe(limit + 1);
  });

  test("one after the other: all calls are begun", async () => {
    using peer = await openPeer(limited.address.port);
    peer.send(http2Preface);
    for (let call = 1; call <= 5 * limit; call++) await peer.deliver(cancelledCall(2 * call - 1));
    expect(begun).toBe(5 * limit);
  });
});

describe("the first bytes identify the protocol, in any number of pieces", () => {
  test.for(["GET", "PUT", "POST", "PATCH", "PROPFIND"])("%s is HTTP/1.1", async (method) => {
    const socket = await open();
    socket.setNoDelay();
    const request = `${method} /it HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
    for (const byte of request) {
      await new Promise<void>((resolve) => socket.write(byte, () => resolve()));
    }
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 200 .*X-Version: 1\.1.*\/it/s);
  });

  test("PRI is HTTP/2", async () => {
    const socket = await open();
    socket.setNoDelay();
    const session = connectHttp2(`http://127.0.0.1:${listener.address.port}`);
    const stream = session.request({ ":path": "/it" });
    const [headers] = await once(stream, "response");
    expect(headers["x-version"]).toBe("2.0");
    expect(await text(stream)).toBe("/it");
    session.close();
    socket.destroy();
  });

  test("PRI in pieces is HTTP/2, too: the server answers with its SETTINGS", async () => {
    const socket = await open();
    socket.setNoDelay();
    const emptySettings = "\0\0\0\x04\0\0\0\0\0";
    for (const byte of preface + emptySettings) {
      await new Promise<void>((resolve) => socket.write(byte, "latin1", () => resolve()));
    }
    const [chunk] = await once(socket, "data");
    // RFC 9113, section 3.4: the server's preface is a SETTINGS frame, type 4.
    expect(chunk[3]).toBe(4);
    socket.destroy();
  });
});

test("a client that ends before its protocol is known is closed at once, not after PEER_TIMEOUT", async () => {
  await using listening = await listen({
    host: "127.0.0.1",
    port: 0,
    shutdownTimeout: 1_000,
    limits: { peerTimeout: 3_600_000 },
    handler: (_request, response) => void response.end(),
  });
  for (const bytes of ["", "PR"]) {
    const socket = connect(listening.address.port, "127.0.0.1");
    socket.resume().end(bytes);
    await once(socket, "close");
  }
});

test("a connection that is reset before its protocol is known affects no other", async () => {
  const socket = await open();
  socket.write("P");
  socket.resetAndDestroy();
  await once(socket, "close");
  const next = await open();
  next.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  expect(await text(next)).toMatch(/^HTTP\/1\.1 200/);
});

test("without a host it listens on IPv4 and IPv6", async () => {
  await using everywhere = await listen({
    host: undefined,
    port: 0,
    shutdownTimeout: 1_000,
    handler: (_request, response) => void response.end(),
  });
  const hosts = everywhere.address.family === "IPv6" ? ["127.0.0.1", "[::1]"] : ["127.0.0.1"];
  for (const host of hosts) {
    expect((await fetch(`http://${host}:${everywhere.address.port}/`)).status).toBe(200);
  }
});
