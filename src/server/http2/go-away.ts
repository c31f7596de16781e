import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

/** An HTTP/2 connection. */
export interface Http2Connection {
  readonly session: Http2Session;
  /** The session's own. */
  readonly socket: Socket;
}

/** GOAWAY (RFC 9113, section 6.8) with NO_ERROR and the greatest stream id: every stream is still served. */
const announcement = Buffer.from("0000080700000000007fffffff00000000", "hex");

/** How long, in milliseconds, a client may take to answer the PING that shows that it has read the announcement. */
const pingTimeout = 1_000;

const isGoing = Symbol("isGoing");

type MayGo = Http2Session & { [isGoing]?: true };

/**
 * Closes an HTTP/2 connection without losing a call. The first GOAWAY only announces that; streams that cross it are served. The
 * second names the last stream, once the client has answered two PINGs: the answer to the first, and the client's own GOAWAY,
 * may overtake calls that it began before, and all that is on its way is here with the second. The connection is closed when
 * its streams have ended.
 *
 * Whatever last stream node:http2 is told to name, nghttp2 takes no stream once it has sent a GOAWAY, so the first one goes past
 * it, between two of its writes, which are always whole frames. TLS takes no writes beside those of node:http2, so over TLS there
 * is one GOAWAY: gRPC's clients then try again what it says was not served, and node:http2's client does not.
 */
export function goAway({ session, socket }: { readonly session: MayGo; readonly socket: Socket }): void {
  if (session[isGoing] || session.closed || session.destroyed) return;
  session[isGoing] = true;
  if (socket instanceof TLSSocket || !socket.writable) {
    session.close();
    return;
  }
  socket.write(announcement);
  // What node:http2 calls when the client's GOAWAY comes.
  session.close = () => {};
  const close = () => {
    clearTimeout(late);
    delete (session as Partial<Http2Session>).close;
    session.close();
  };
  const late = setTimeout(close, pingTimeout);
  session.ping((error) => {
    if (error !== null || session.destroyed) close();
    else session.ping(close);
  });
}
