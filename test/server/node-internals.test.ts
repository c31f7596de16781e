import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer as createHttp1, type IncomingMessage, type ServerResponse } from "node:http";
import {
  createServer as createHttp2,
  type Http2Stream,
  performServerHandshake,
  type ServerHttp2Session,
} from "node:http2";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { connect as connectTls, createServer as createTls, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { OneFrameResponse } from "../../src/server/http2/one-frame-response.ts";
import {
  allowHalfOpen,
  announceIdleTimeout,
  emitStream,
  ignoreClose,
  replaceStreamCollections,
  responseInProgress,
  socketBeneath,
  takeConnections,
  unsentBytes,
  writeFrame,
} from "../../src/server/node-internals.ts";
import { createAuthority } from "../support/certificates.ts";
import {
  cancelledCalls,
  type Frame,
  flag,
  frame,
  frameType,
  preface,
  restCall,
  setting,
  settings,
} from "../support/http2-frames.ts";
import { openPeer, type Peer } from "../support/peer.ts";

// When one of these fails with a new version of Node, the function that the test is named after needs another way.

let opened: AsyncDisposableStack;

beforeEach(() => {
  opened = new AsyncDisposableStack();
});

afterEach(() => opened.disposeAsync());

/** @returns the port that the server listens on. It is closed after the test, with its connections. */
async function start(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => void sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  opened.defer(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  });
  return (server.address() as AddressInfo).port;
}

/** A client of a session of node:http2 that was given the connection. */
async function openSession(): Promise<{ peer: Peer; session: ServerHttp2Session; socket: Socket }> {
  const begun = Promise.withResolvers<{ session: ServerHttp2Session; socket: Socket }>();
  const port = await start(
    createServer((socket) => {
      const session = performServerHandshake(socket);
      session.on("error", () => {});
      begun.resolve({ session, socket });
    }),
  );
  const peer = opened.use(await openPeer(port));
  return { peer, ...(await begun.promise) };
}

/** @returns the port of a server that reads the first bytes of each connection, and puts them back. */
function startReading(serve: (socket: Socket) => void): Promise<number> {
  return start(
    createServer((socket) =>
      socket.once("data", (chunk) => {
        socket.pause();
        socket.unshift(chunk);
        serve(socket);
      }),
    ),
  );
}

const request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const get = (stream: number) =>
  frame(frameType.headers, flag.endHeaders | flag.endStream, stream, restCall("any"));

async function answerTo(port: number, bytes = request): Promise<string> {
  return await text(connect(port, "127.0.0.1").end(bytes));
}

describe("node:http", () => {
  test("takeConnections: what Node puts on the event connection serves HTTP/1.1", async () => {
    const server = createHttp1((_request, response) => response.end("answered"));
    const taken: Socket[] = [];
    const serve = takeConnections(server, (socket) => {
      taken.push(socket);
      if (taken.length === 1) serve(socket);
      else socket.end("not served");
    });
    const port = await start(server);
    expect(await answerTo(port)).toMatch(/^HTTP\/1\.1 200 OK.*answered/s);
    expect(await answerTo(port)).toBe("not served");
  });

  test("allowHalfOpen: a client that ends its sending side gets its response", async () => {
    const server = createHttp1(({ socket }, response) => {
      socket.once("end", () => setImmediate(() => response.end("answered")));
    });
    allowHalfOpen(server);
    expect(await answerTo(await start(server), request)).toMatch(/^HTTP\/1\.1 200 OK.*answered/s);
  });

  test("responseInProgress: Node keeps the response with its socket until the response is sent", async () => {
    const seen: unknown[] = [];
    const finished = Promise.withResolvers<void>();
    const server = createHttp1(({ socket }: IncomingMessage, response: ServerResponse) => {
      seen.push(responseInProgress(socket) === response);
      response.once("close", () => {
        seen.push(responseInProgress(socket));
        finished.resolve();
      });
      response.end();
    });
    server.on("connection", (socket) => seen.push(responseInProgress(socket)));
    await answerTo(await start(server));
    await finished.promise;
    expect(seen).toEqual([undefined, true, null]);
  });

  test.for([
    { timeout: 0, announced: "Connection: keep-alive\r\n\r\n" },
    { timeout: 65_000, announced: "Connection: keep-alive\r\nKeep-Alive: timeout=65\r\n\r\n" },
  ])("announceIdleTimeout: a server without a timer announces $timeout ms", async ({
    timeout,
    announced,
  }) => {
    const server = createHttp1({ keepAliveTimeout: 0 }, (_request, response) => {
      announceIdleTimeout(response, timeout);
      response.writeHead(200, { "Content-Length": 0 }).end();
    });
    const port = await start(server);
    expect(await answerTo(port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")).toContain(announced);
  });
});

describe("node:net", () => {
  test("unsentBytes: they become fewer while a client reads, before the write has ended", async () => {
    const size = 2 ** 26;
    const connected = Promise.withResolvers<Socket>();
    const port = await start(createServer(connected.resolve));
    const client = connect(port, "127.0.0.1");
    client.pause();
    const socket = await connected.promise;
    expect(unsentBytes(socket)).toBe(0);
    socket.write(Buffer.alloc(size));
    const before = unsentBytes(socket);
    expect(before).toBeGreaterThan(0);
    client.on("data", () => {
      if (unsentBytes(socket) < before) client.pause();
    });
    client.resume();
    await once(client, "pause");
    expect(socket.writableLength).toBe(size);
    client.destroy();
  });
});

describe("node:tls", () => {
  test("socketBeneath: a TLS connection knows the connection that carries it", async () => {
    const authority = await createAuthority("Tests of Node");
    const { cert, key } = await authority.issue("server", "localhost");
    const tls = createTls({ cert, key });
    const secured = once(tls, "secureConnection") as Promise<[TLSSocket]>;
    const carriers: Socket[] = [];
    const port = await start(
      createServer((socket) => {
        carriers.push(socket);
        tls.emit("connection", socket);
      }),
    );
    const client = connectTls({ host: "127.0.0.1", port, servername: "localhost", ca: authority.cert });
    const [socket] = await secured;
    expect(socketBeneath(socket)).toBe(carriers[0]);
    client.destroy();
  });
});

describe("node:http2", () => {
  test("emitStream: a server that does not listen makes a request of a stream", async () => {
    const requests = createHttp2();
    requests.on("request", (_request, response) => response.end("answered"));
    const { peer, session } = await openSession();
    session.on("stream", (stream, headers, flags, rawHeaders) =>
      emitStream(requests, stream, headers, flags, rawHeaders),
    );
    peer.send(Buffer.concat([preface, get(1)]));
    const { payload } = await peer.frame(({ type }) => type === frameType.data);
    expect(payload.toString()).toBe("answered");
  });

  test("replaceStreamCollections: a session keeps its streams in the collections that it is given", async () => {
    const { peer, session } = await openSession();
    const streams = new Map<number, Http2Stream>();
    expect(replaceStreamCollections(session, streams, new Set())).toBe(true);
    const begun = once(session, "stream");
    peer.send(Buffer.concat([preface, get(1)]));
    const [stream] = await begun;
    expect([...streams]).toEqual([[1, stream]]);
    stream.on("close", () => peer.send("")).respond({}, { endStream: true });
    await once(stream, "close");
    expect(streams.size).toBe(0);
  });

  test("replaceStreamCollections: a session that keeps its streams in another way stays as it is", () => {
    const replaceOf = (session: object) =>
      replaceStreamCollections(session as ServerHttp2Session, new Map(), new Set());
    expect(replaceOf({})).toBe(false);
    const streams = [1];
    const session = { [Symbol("state")]: { streams, pendingStreams: new Set() } };
    expect(replaceOf(session)).toBe(false);
    const [symbol] = Object.getOwnPropertySymbols(session);
    expect((session as Record<symbol, { streams: unknown }>)[symbol as symbol]?.streams).toBe(streams);
  });

  const wide = [
    settings(setting.initialWindowSize, 2 ** 30),
    frame(frameType.windowUpdate, 0, 0, Buffer.from([63, 0, 0, 0])),
  ];
  const marker = 0xfa;
  const sizes = (peer: Peer, wanted: number) =>
    peer.frames.filter(({ type }) => type === wanted).map(({ payload }) => payload.length);

  test("writeFrame: node:http2 writes whole frames, so that another frame lands between two of them", async () => {
    const { peer, session, socket } = await openSession();
    const count = 500;
    let written = 0;
    session.on("stream", (stream) => {
      stream.respond();
      const write = () => {
        if (writeFrame(socket, frame(marker, 0, 0, Buffer.alloc(7)))) written++;
        if (stream.writableEnded) return;
        if (written >= count) stream.end();
        else stream.write(Buffer.alloc(20_000), () => setImmediate(write));
      };
      write();
    });
    peer.send(Buffer.concat([preface, ...wide, get(1)]));
    await peer.frame(({ type, flags }) => type === frameType.data && (flags & flag.endStream) !== 0);
    expect(sizes(peer, marker)).toEqual(Array(written).fill(7));
    expect(sizes(peer, frameType.data).reduce((sum, size) => sum + size, 0) % 20_000).toBe(0);
  });

  test("writeFrame: nothing is written while data waits for the client to read, and node:http2 lives on", async () => {
    const { peer, session, socket } = await openSession();
    const size = 2 ** 24;
    peer.socket.pause();
    peer.send(Buffer.concat([preface, ...wide, get(1)]));
    const [stream] = await once(session, "stream");
    stream.respond();
    stream.end(Buffer.alloc(size));
    const write = () => writeFrame(socket, frame(marker, 0, 0, Buffer.alloc(7)));
    let written = 0;
    const writeUntilRefused = () => {
      if (write()) written++;
      else return "refused";
      return written;
    };
    await expect.poll(writeUntilRefused, { interval: 1 }).toBe("refused");
    peer.socket.resume();
    await peer.frame(({ type, flags }) => type === frameType.data && (flags & flag.endStream) !== 0);
    await peer.deliver();
    expect(sizes(peer, marker)).toEqual(Array(written).fill(7));
    expect(sizes(peer, frameType.data).reduce((sum, length) => sum + length, 0)).toBe(size);
  });

  test("ignoreClose: node:http2 closes a session by its method close when GOAWAY arrives", async () => {
    const goaway = Buffer.concat([preface, frame(frameType.goaway, 0, 0, Buffer.alloc(8))]);
    const usual = await openSession();
    usual.session.on("stream", () => {});
    usual.peer.send(goaway);
    await once(usual.session, "goaway");
    // Node calls close behind the event.
    await Promise.resolve();
    expect(usual.session.closed).toBe(true);

    const { peer, session } = await openSession();
    const restoreClose = ignoreClose(session);
    peer.send(goaway);
    await once(session, "goaway");
    await Promise.resolve();
    expect(session.closed).toBe(false);
    restoreClose();
    session.close();
    expect(session.closed).toBe(true);
  });

  test("OneFrameResponse: Node's response leaves to the stream what was sent on it", async () => {
    const server = createHttp2({ Http2ServerResponse: OneFrameResponse });
    const ended: boolean[] = [];
    server.on("request", (_request, response) => {
      response.writeHead(200, { "Content-Length": 8 });
      response.end("answered");
      ended.push(response.headersSent, response.writableEnded);
    });
    const peer = opened.use(await openPeer(await start(server)));
    peer.send(Buffer.concat([preface, get(1)]));
    await peer.frame(({ stream, flags }) => stream === 1 && (flags & flag.endStream) !== 0);
    await peer.deliver();
    const sent = peer.frames.filter(({ stream }) => stream === 1);
    const outline = ({ type, flags, payload }: Frame) => ({
      type,
      isLast: (flags & flag.endStream) !== 0,
      ...(type === frameType.data && { content: payload.toString() }),
    });
    expect(sent.map(outline)).toEqual([
      { type: frameType.headers, isLast: false },
      { type: frameType.data, isLast: true, content: "answered" },
    ]);
    expect(ended).toEqual([true, true]);
  });

  test("watchBursts: the channel announces all streams of a connection's first bytes before the event stream", async () => {
    const order: string[] = [];
    const onCreated = () => void order.push("created");
    subscribe("http2.server.stream.created", onCreated);
    opened.defer(() => void unsubscribe("http2.server.stream.created", onCreated));
    const port = await startReading((socket) => {
      const session = performServerHandshake(socket);
      session.on("error", () => {});
      session.on("stream", (stream) => {
        order.push("stream");
        stream.on("error", () => {});
      });
    });
    const peer = opened.use(await openPeer(port));
    await peer.deliver(preface, cancelledCalls(3));
    expect(order).toEqual([...Array(3).fill("created"), ...Array(3).fill("stream")]);
  });
});

describe("detectProtocol: bytes that were put back into a socket are read by what serves it", () => {
  test("HTTP/1.1", async () => {
    const server = createHttp1((_request, response) => response.end("answered"));
    const serve = takeConnections(server, () => {});
    const port = await startReading((socket) => {
      serve(socket);
      socket.resume();
    });
    const socket = connect(port, "127.0.0.1");
    socket.write(request);
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 200 OK.*answered/s);
  });

  test("HTTP/2", async () => {
    const port = await startReading((socket) => void performServerHandshake(socket).on("error", () => {}));
    const peer = opened.use(await openPeer(port));
    await peer.deliver(preface);
  });

  test("TLS", async () => {
    const authority = await createAuthority("Tests of Node");
    const { cert, key } = await authority.issue("server", "localhost");
    const tls = createTls({ cert, key }, (socket) => socket.end("answered"));
    const port = await startReading((socket) => void tls.emit("connection", socket));
    const client = connectTls({ host: "127.0.0.1", port, servername: "localhost", ca: authority.cert });
    expect(await text(client)).toBe("answered");
  });
});
