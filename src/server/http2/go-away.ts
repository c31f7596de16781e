import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { ignoreClose, writeFrame } from "../node-internals.ts";

/** An HTTP/2 connection. */
export interface Http2Connection {
  readonly session: Http2Session;
  /** The session's own. */
  readonly socket: Socket;
  /** Those that are open. */
  readonly streams: { readonly size: number };
}

/** GOAWAY (RFC 9113, section 6.8) with NO_ERROR and the greatest stream id: every stream is still served. */
const announcement = Buffer.from("0000080700000000007fffffff00000000", "hex");

/** How long, in milliseconds, a client may take to answer the PING that proves that it has read the announcement. */
const pingTimeout = 1_000;

const isDraining = Symbol("isDraining");

type Drainable = Http2Session & { [isDraining]?: true };

/**
 * Closes an HTTP/2 connection without losing a call. The first GOAWAY announces the shutdown; streams that cross it are served.
 * The second names the last stream, once the client has answered two PINGs: the answer to the first PING, and the client's own
 * GOAWAY, may overtake calls that the client began before, and with the answer to the second all of these have arrived. The
 * connection is closed when its streams have ended.
 *
 * nghttp2 takes no new streams once it has sent a GOAWAY, whatever last stream node:http2 has it name. The first GOAWAY is
 * therefore written beside it. That is not possible over TLS, nor while the client has not read what was sent before: there is
 * one GOAWAY then, and gRPC's clients retry the calls that it declares unserved, while node:http2's client does not.
 */
export function goAway(connection: Http2Connection): void {
  const { socket, streams } = connection;
  const session: Drainable = connection.session;
  if (session[isDraining] || session.closed || session.destroyed) return;
  session[isDraining] = true;
  if (socket instanceof TLSSocket || !writeFrame(socket, announcement)) {
    session.close();
    return;
  }
  const restoreClose = ignoreClose(session);
  const close = () => {
    clearTimeout(timer);
    restoreClose();
    session.close();
  };
  const timer = setTimeout(close, pingTimeout);
  // After the client's GOAWAY, nghttp2 reads on only for open streams: without any, no PING would be answered. Those that came
  // in the same piece have begun by then.
  session.once("goaway", () => setImmediate(() => streams.size === 0 && close()));
  session.ping((error) => {
    if (error !== null || session.destroyed) close();
    else session.ping(close);
  });
}
