import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { ignoreClose, writeFrame } from "../node-internals.ts";

/** An HTTP/2 connection. */
export interface Http2Connection {
  readonly session: Http2Session;
  /** The session's own. */
  readonly socket: Socket;
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
 * therefore written beside it. TLS takes no writes beside those of node:http2, so over TLS there is one GOAWAY: gRPC's clients
 * then retry the calls that it declares unserved, and node:http2's client does not.
 */
export function goAway({ session, socket }: { readonly session: Drainable; readonly socket: Socket }): void {
  if (session[isDraining] || session.closed || session.destroyed) return;
  session[isDraining] = true;
  if (socket instanceof TLSSocket || !socket.writable) {
    session.close();
    return;
  }
  writeFrame(socket, announcement);
  const restoreClose = ignoreClose(session);
  const close = () => {
    clearTimeout(timer);
    restoreClose();
    session.close();
  };
  const timer = setTimeout(close, pingTimeout);
  session.ping((error) => {
    if (error !== null || session.destroyed) close();
    else session.ping(close);
  });
}
