import { writeSync } from "node:fs";
import type { Server, ServerResponse } from "node:http";
import type {
  Http2Server,
  Http2Session,
  Http2Stream,
  IncomingHttpHeaders,
  ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

// What the server uses of Node without Node documenting it. Each function has a test of the same name in
// test/server/node-internals.test.ts, which fails when a version of Node changes what the function relies on.

/**
 * Has a server that listens pass its connections on instead of serving them.
 *
 * @returns serves a connection over HTTP/1.1: it calls the listeners that Node itself puts on "connection".
 */
export function takeConnections(
  server: Server,
  onConnection: (socket: Socket) => void,
): (socket: Socket) => void {
  const listeners = server.listeners("connection") as ((socket: Socket) => void)[];
  server.removeAllListeners("connection");
  server.on("connection", onConnection);
  return (socket) => {
    for (const listener of listeners) listener.call(server, socket);
  };
}

/** A client may end its sending side after its request, and still reads the response (RFC 9112, section 9.6). */
export function allowHalfOpen(server: Server): void {
  Object.assign(server, { httpAllowHalfOpen: true });
}

/** @returns the response that is under way on an HTTP/1.1 connection, if there is one. */
export function responseInProgress(socket: Socket): ServerResponse | undefined | null {
  return (socket as Socket & { readonly _httpMessage?: ServerResponse | null })._httpMessage;
}

/**
 * Has a response announce for how long its connection may be idle (`Keep-Alive: timeout`), as Node does when it sets a timer for
 * that.
 *
 * @param timeout in milliseconds.
 */
export function announceIdleTimeout(response: ServerResponse, timeout: number): void {
  (response as ServerResponse & { _keepAliveTimeout: number })._keepAliveTimeout = timeout;
}

/** @returns the TCP connection that carries a TLS connection. */
export function socketBeneath(socket: TLSSocket): Socket {
  return (socket as TLSSocket & { readonly _parent: Socket })._parent;
}

/** Has a server that does not listen serve a stream of another's session, as a request and a response. */
export function emitStream(
  server: Http2Server,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: readonly string[],
): void {
  server.emit("stream", stream, headers, flags, rawHeaders);
}

/** What node:http2 calls of the Map in which it keeps a session's open streams by their ids. */
interface StreamMap {
  readonly size: number;
  get(id: number): Http2Stream | undefined;
  set(id: number, stream: Http2Stream): unknown;
  delete(id: number): boolean;
  forEach(visit: (stream: Http2Stream) => void): void;
}

/** What node:http2 calls of the Set in which it keeps a session's streams that have no id yet. */
interface StreamSet {
  readonly size: number;
  add(stream: Http2Stream): unknown;
  delete(stream: Http2Stream): boolean;
  forEach(visit: (stream: Http2Stream) => void): void;
}

interface SessionState {
  streams: StreamMap;
  pendingStreams: StreamSet;
}

/**
 * Replaces the collections in which node:http2 keeps the streams of a session that has none yet.
 *
 * @returns whether they were replaced. They are not where this version of Node keeps them otherwise.
 */
export function replaceStreamCollections(
  session: Http2Session,
  streams: StreamMap,
  pendingStreams: StreamSet,
): boolean {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === "state");
  const state = symbol && (session as Http2Session & Record<symbol, SessionState>)[symbol];
  if (state?.streams?.size !== 0 || state.pendingStreams?.size !== 0) return false;
  state.streams = streams;
  state.pendingStreams = pendingStreams;
  return true;
}

/** What libuv knows of a connection. Null once it is closed. */
type Handle = { readonly fd: number; readonly writeQueueSize: number } | null;

/** @returns how many of the bytes that were written to a connection the operating system has not taken yet. */
export function unsentBytes(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { readonly _handle?: Handle };
  return socket.writableLength === 0 ? 0 : Math.max(1, handle?.writeQueueSize ?? 0);
}

/**
 * Writes a frame beside node:http2, which hands the operating system whole frames: the frame lands between two of them.
 *
 * Not by the socket's own write: should that have to wait, node:http2 would take its end for the end of a write of its own, and
 * abort the process where it has none.
 *
 * @returns whether it was written. It is not while other data waits for the client to read, and where sockets have no descriptor.
 */
export function writeFrame(socket: Socket, frame: Buffer): boolean {
  const { _handle: handle } = socket as Socket & { readonly _handle?: Handle };
  if (!handle || handle.fd < 0 || handle.writeQueueSize > 0) return false;
  try {
    const isWhole = writeSync(handle.fd, frame) === frame.length;
    // Half a frame leaves a connection that nothing can follow on.
    if (!isWhole) socket.destroy();
    return isWhole;
  } catch {
    // EAGAIN: the operating system takes no more until the client reads.
    return false;
  }
}

/**
 * Keeps a session open when the client's GOAWAY arrives: node:http2 calls its method `close` then.
 *
 * @returns makes `close` work again.
 */
export function ignoreClose(session: Http2Session): () => void {
  session.close = () => {};
  return () => {
    delete (session as Partial<Http2Session>).close;
  };
}
