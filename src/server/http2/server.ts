import {
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import type { Socket } from "node:net";
import type { FastPath } from "../../protocols/grpc/fast-path.ts";
import type { HttpHandler } from "../../protocols/http.ts";
import { sendAwayHeldCalls } from "../../status/holds.ts";
import { LinkedList } from "../../status/linked-list.ts";
import { ConnectionAge } from "../connection-age.ts";
import { http2HeaderLimits } from "../header-size.ts";
import type { CompleteLimits } from "../limits.ts";
import { goAway, type Http2Connection } from "./go-away.ts";
import { watchSlowClients } from "./slow-clients.ts";
import { watchBursts } from "./stream-bursts.ts";
import { installStreamTable } from "./stream-table.ts";
import { serveStreams } from "./streams.ts";

interface Http2ServerOptions {
  readonly limits: CompleteLimits;
  readonly handler: HttpHandler;
  readonly fastPath: FastPath | undefined;
  readonly onCancelled: ((headers: IncomingHttpHeaders) => void) | undefined;
}

/** Serves HTTP/2 on connections that it is given. */
export interface Http2Server extends Disposable {
  serve(socket: Socket): void;
  /** Ends what slow clients leave open. @param now in milliseconds, of the sweeps' clock. */
  sweep(now: number): void;
  /** Closes the connections that exceed their age, each when its streams have ended. @param now of the sweeps' clock. */
  closeOld(now: number): void;
  /** Closes all connections, each when its streams have ended. */
  drain(): void;
}

export function createHttp2Server({
  limits,
  handler,
  fastPath,
  onCancelled,
}: Http2ServerOptions): Http2Server {
  const connections = new LinkedList<Http2Connection & { readonly age: ConnectionAge }>();
  const options = optionsOf(limits);
  const slowClients = watchSlowClients(limits);
  const bursts = watchBursts(limits.maxConcurrentStreams ?? Number.POSITIVE_INFINITY);
  const serveStream = serveStreams(handler, fastPath, limits.maxHeaderSize);

  function onStream(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    rawHeaders: readonly string[],
  ): void {
    // Reset before it could be served: no response can reach the client.
    if (stream.destroyed) {
      stream.on("error", ignoreError);
      onCancelled?.(headers);
      return;
    }
    slowClients.watchStream(stream);
    serveStream(stream, headers, flags, rawHeaders);
  }

  return {
    serve(socket) {
      // A client that ends an HTTP/2 connection is gone (RFC 9113, section 9.1). Over HTTP/1.1 it may still read.
      socket.allowHalfOpen = false;
      const session = performServerHandshake(socket, options);
      session.on("stream", onStream);
      // The session closes, too.
      session.on("error", ignoreError);
      slowClients.watchSession(session, socket);
      bursts.watch(session);
      const link = connections.add({
        session,
        socket,
        streams: installStreamTable(session),
        age: new ConnectionAge(limits),
      });
      session.once("close", () => link.remove());
      requireSettings(session, limits.peerTimeout);
    },
    sweep: slowClients.sweep,
    closeOld(now) {
      for (const connection of connections.toArray()) {
        if (connection.age.exceedsGrace(now)) sendAwayHeldCalls(connection.session);
        if (connection.age.exceedsLimit(now)) goAway(connection);
      }
    },
    drain() {
      for (const connection of connections.toArray()) goAway(connection);
    },
    [Symbol.dispose]: () => bursts[Symbol.dispose](),
  };
}

function optionsOf({ maxConcurrentStreams, maxHeaderSize, maxStreamResets }: CompleteLimits): ServerOptions {
  const headers = maxHeaderSize === undefined ? undefined : http2HeaderLimits(maxHeaderSize);
  return {
    settings: {
      ...(maxConcurrentStreams !== undefined && { maxConcurrentStreams }),
      ...(headers !== undefined && { maxHeaderListSize: headers.size }),
    },
    ...(headers !== undefined && { maxHeaderListPairs: headers.fields }),
    ...(maxStreamResets !== undefined && {
      streamResetBurst: maxStreamResets,
      streamResetRate: maxStreamResets,
    }),
  };
}

/** Ends a session whose client does not send its SETTINGS (RFC 9113, section 3.4) within the timeout. */
function requireSettings(session: ServerHttp2Session, timeout: number): void {
  const timer = setTimeout(() => session.destroy(), timeout);
  session.once("remoteSettings", () => clearTimeout(timer));
  session.once("close", () => clearTimeout(timer));
}

function ignoreError(): void {}
