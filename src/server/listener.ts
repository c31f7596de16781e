import { once } from "node:events";
import { createServer as createHttp1, type ServerResponse } from "node:http";
import {
  createServer as createHttp2,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { FallBack } from "../protocols/grpc/unary-call.ts";
import type { FastPath } from "../protocols/grpc/unary-fast-path.ts";
import { answerHeldCalls, sendAwayHeldCalls } from "../protocols/held-calls.ts";
import type { HttpHandler } from "../protocols/http.ts";
import { LinkedList } from "../protocols/linked-list.ts";
import { answerClientError, type LinesForUnread } from "./client-errors.ts";
import { ConnectionAge } from "./connection-age.ts";
import { trackConnections } from "./connections.ts";
import { readFirstBytes } from "./first-bytes.ts";
import { isTooLarge, mostFields } from "./header-size.ts";
import { goAway, type Http2Connection } from "./http2/go-away.ts";
import { OneFrameResponse } from "./http2/one-frame-response.ts";
import { watchSlowPeers } from "./http2/slow-peers.ts";
import { watchBursts } from "./http2/stream-bursts.ts";
import { keepStreamsBriefly } from "./http2/stream-table.ts";
import { http1Options, http2Options, type Limits } from "./limits.ts";
import { startSweeps } from "./sweeps.ts";
import { openTls, type TlsOptions } from "./tls/tls.ts";

export interface ListenOptions {
  /** Undefined: all interfaces, IPv6 and IPv4. */
  readonly host: string | undefined;
  /** 0 takes a free one. */
  readonly port: number;
  /** How long, in milliseconds, running calls may take to finish once the listener closes. */
  readonly shutdownTimeout: number;
  readonly limits?: Limits;
  /** Absent: whoever connects speaks without TLS. */
  readonly tls?: TlsOptions | undefined;
  readonly handler: HttpHandler;
  /** Gets each HTTP/2 stream first. Absent: the handler gets them all. */
  readonly fastPath?: FastPath | undefined;
  /** What else there is to say to what cannot be read as a request. */
  readonly linesForUnread?: LinesForUnread | undefined;
  /** Told of each connection that is closed since there are as many as there may be. */
  readonly onDropped?: () => void;
  /** Told of each HTTP/2 stream that is reset before anything gets it. */
  readonly onCancelled?: (headers: IncomingHttpHeaders) => void;
}

/** Disposing of it takes no new connections, lets running calls finish, and then closes every connection. */
export interface Listener extends AsyncDisposable {
  readonly address: AddressInfo;
}

/** One port for HTTP/1.1 and for HTTP/2. @throws TlsFilesError; what Node says when it cannot listen. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const {
    host,
    port,
    shutdownTimeout,
    limits = {},
    handler,
    fastPath,
    onCancelled,
    linesForUnread,
  } = options;
  const { peerTimeout = 10_000, idleTimeout = 65_000, maxHeaderSize = Number.POSITIVE_INFINITY } = limits;
  const { keepAliveTime = 30_000, keepAliveTimeout = 10_000 } = limits;
  const { maxConnectionAge = 1_800_000, maxConnectionAgeGrace = 30_000 } = limits;
  const http1 = createHttp1(http1Options(limits, peerTimeout, idleTimeout), (request, response) => {
    if ((request.socket as MayBeLast)[isLast]) sayClose(response);
    handler(request, response);
  });
  http1.maxHeadersCount = mostFields;
  http1.on("clientError", (error, socket) =>
    answerClientError(error, socket as Socket, replyOn(socket as Socket), linesForUnread),
  );
  // A caller may end its side behind its request, and still reads the answer (RFC 9112, section 9.6). Node's types lack this.
  Object.assign(http1, { httpAllowHalfOpen: true });
  http1.setTimeout(peerTimeout, dropUnlessBusy);
  // Node would tell callers to send their messages, before anybody has looked whether they may ask.
  http1.on("checkContinue", (request, response) => http1.emit("request", request, response));
  const http2 = createHttp2(http2Options(limits));
  const tls = options.tls && openTls(options.tls, peerTimeout);
  const connections = trackConnections({
    maxConnections: limits.maxConnections ?? Number.POSITIVE_INFINITY,
    idleTimeout,
    onDropped: options.onDropped,
  });
  const slowPeers = watchSlowPeers({ peerTimeout, idleTimeout, keepAliveTime, keepAliveTimeout });
  const sweeps = startSweeps(
    Math.min(
      ...[peerTimeout, idleTimeout, keepAliveTime, keepAliveTimeout, maxConnectionAge, maxConnectionAgeGrace],
    ) / 4,
  );
  sweeps.add(connections.sweep);
  sweeps.add(slowPeers.sweep);
  sweeps.add(closeOld);
  const bursts = watchBursts(limits.maxConcurrentStreams ?? Number.POSITIVE_INFINITY);
  const http1Sockets = new LinkedList<Aging<Http1Connection>>();
  const sessions = new LinkedList<Aging<Http2Connection>>();

  const ageLimits = { maxConnectionAge, maxConnectionAgeGrace };

  /** Otherwise clients would never move to instances that come later. */
  function closeOld(now: number): void {
    for (const connection of sessions.toArray()) {
      if (connection.age.isOver(now)) sendAwayHeldCalls(connection.session);
      if (connection.age.isOld(now)) goAway(connection);
    }
    for (const { socket, age } of http1Sockets.toArray()) {
      if (!age.isOld(now)) continue;
      (socket as MayBeLast)[isLast] = true;
      if (age.isOver(now) && sendAwayHeldCalls(socket)) {
        replyOn(socket)?.once("finish", () => socket.destroySoon());
      }
    }
  }

  // The HTTP/1.1 server listens, which starts its watch over slow and idle peers, but it gets only the
  // connections that are not HTTP/2.
  const serveHttp1 = http1.listeners("connection") as ((socket: Socket) => void)[];
  http1.removeAllListeners("connection");
  http1.on("connection", (socket: Socket) => {
    const { heard, served } = connections.add(socket);
    const speaks = (carrier: Socket, isHttp2: boolean) => {
      served();
      serve(carrier, isHttp2);
    };
    if (tls === undefined) {
      const decided = (head: string) => speaks(socket, head.startsWith("PRI"));
      readFirstBytes(socket, { timeout: peerTimeout, heard, decides: decidesProtocol, decided });
    } else {
      // The handshake's time begins with its first byte.
      const decided = () => tls.accept(socket, speaks);
      readFirstBytes(socket, { timeout: peerTimeout, heard, decides: () => true, decided });
    }
  });

  function serve(socket: Socket, isHttp2: boolean): void {
    if (isHttp2) {
      serveHttp2(socket);
    } else {
      const place = http1Sockets.add({ socket, age: new ConnectionAge(ageLimits) });
      socket.on("end", answerHeld);
      socket.once("close", () => place.remove());
      for (const listener of serveHttp1) listener.call(http1, socket);
      socket.resume();
    }
  }

  function serveHttp2(socket: Socket): void {
    // Who ends an HTTP/2 connection has gone (RFC 9113, section 9.1). Over HTTP/1.1 it may yet read its answer.
    socket.allowHalfOpen = false;
    const begin = (session: Http2Session) => beginSession({ session, socket });
    http2.once("session", begin);
    http2.emit("connection", socket);
    http2.off("session", begin);
  }

  function beginSession(connection: Http2Connection): void {
    const { session, socket } = connection;
    slowPeers.watchSession(session, socket);
    keepStreamsBriefly(session);
    bursts.watch(session);
    const place = sessions.add({ ...connection, age: new ConnectionAge(ageLimits) });
    session.once("close", () => place.remove());
    // A peer that announces HTTP/2 and then says nothing more must not stay for ever.
    const tooLate = setTimeout(() => session.destroy(), peerTimeout);
    session.once("remoteSettings", () => clearTimeout(tooLate));
    session.once("close", () => clearTimeout(tooLate));
  }

  // What the fast path does not answer becomes a request and a response: a server that never listens makes them.
  const requests = createHttp2({ Http2ServerResponse: OneFrameResponse });
  requests.on("request", handler).on("checkContinue", handler);
  // Node would answer it with a 405 that does not name what is allowed.
  requests.on("connect", handler);
  const fallBack: FallBack = (stream, headers, flags, rawHeaders = []) =>
    requests.emit("stream", stream, headers, flags, rawHeaders);
  http2.on("stream", (stream: ServerHttp2Stream, headers, flags, rawHeaders) => {
    // Reset before anybody has heard of it: nobody waits for an answer.
    if (stream.destroyed) {
      stream.on("error", () => {});
      onCancelled?.(headers);
      return;
    }
    slowPeers.watchStream(stream);
    // The handler checks the size of the headers; in front of the fast path, this does.
    if (fastPath === undefined || isTooLarge(rawHeaders, maxHeaderSize))
      fallBack(stream, headers, flags, rawHeaders);
    else fastPath.serve(stream, headers, flags, fallBack);
  });
  http1.listen({ port, host });
  await once(http1, "listening");

  async function drain(): Promise<void> {
    const closed = once(http1, "close");
    http1.close();
    // Node goes on offering keep-alive while it closes: the peer would send its next request into the void.
    http1.prependListener("request", (_request, response) => sayClose(response));
    for (const { socket } of http1Sockets.toArray()) sayClose(replyOn(socket));
    for (const connection of sessions.toArray()) goAway(connection);
    connections.closeOpening();
    const late = setTimeout(connections.closeAll, shutdownTimeout);
    await closed;
    clearTimeout(late);
    sweeps[Symbol.dispose]();
    bursts[Symbol.dispose]();
    tls?.[Symbol.dispose]();
  }

  return { address: http1.address() as AddressInfo, [Symbol.asyncDispose]: drain };
}

interface Http1Connection {
  readonly socket: Socket;
}

type Aging<T> = T & { readonly age: ConnectionAge };

const isLast = Symbol("isLast");

/** An HTTP/1.1 connection, whose next answer may be its last. */
type MayBeLast = Socket & { [isLast]?: true };

/** A caller that ends its sending side may have gone, and a call that is held for it would stay. */
function answerHeld(this: Socket): void {
  answerHeldCalls(this);
}

/** An HTTP/1.1 connection on which nothing moves: we may be at work, or the peer may not take its answer. */
function dropUnlessBusy(socket: Socket): void {
  if (!replyOn(socket) || socket.writableLength > 0) socket.destroy();
}

/** The reply that is under way on an HTTP/1.1 connection: Node keeps it there, under no public name. */
function replyOn(socket: Socket): ServerResponse | undefined | null {
  return (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage;
}

function sayClose(response: ServerResponse | undefined | null): void {
  if (response && !response.headersSent) response.setHeader("Connection", "close");
}

/** Node's allowHTTP1 works only under TLS, so the first bytes decide: an HTTP/2 client always opens with "PRI". */
function decidesProtocol(head: string): boolean {
  return head.length >= 3 || !"PRI".startsWith(head);
}
