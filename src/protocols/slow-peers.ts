import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";

/** Ends what HTTP/2 peers leave hanging, which node:http2 lets stay for ever. */
export interface SlowPeers extends Disposable {
  /** @param socket the session's own, which alone can be closed while the peer takes nothing. */
  watchSession(session: Http2Session, socket: Socket): void;
  watchStream(stream: ServerHttp2Stream): void;
  hasStreams(session: Http2Session): boolean;
}

/** Streams that are kept at least before those that are over are sorted out. */
const leastKept = 256;

/**
 * @param timeout how long, in milliseconds, a peer may take to send the rest of its request or to take our answer. Streams
 *   on which an answer is under way are left alone, however long that takes.
 */
export function watchSlowPeers(timeout: number): SlowPeers {
  const sockets = new Map<Http2Session, Socket>();
  // A listener or a timer a stream would cost more: this way a stream costs two touches of an array.
  let streams: ServerHttp2Stream[] = [];
  let sortOutAt = leastKept;
  /** Who kept us waiting when we last looked, and since when. */
  let late = new Map<ServerHttp2Stream | Http2Session, number>();

  function sortOut(): void {
    streams = streams.filter((stream) => !stream.destroyed);
    sortOutAt = Math.max(leastKept, 2 * streams.length);
  }

  function sweep(): void {
    sortOut();
    const now = performance.now();
    const before = late;
    late = new Map();
    const isTooLate = (peer: ServerHttp2Stream | Http2Session) => {
      const since = before.get(peer) ?? now;
      late.set(peer, since);
      return now - since >= timeout;
    };
    for (const stream of streams) {
      if (!waitsForPeer(stream) || !isTooLate(stream)) continue;
      // A peer that does not even take the reset takes nothing at all.
      if (stream.closed) stream.session?.destroy();
      else stream.close(constants.NGHTTP2_CANCEL);
    }
    for (const [session, socket] of sockets) {
      // A session that has been ended waits until the peer has taken its last words.
      if (session.destroyed && isTooLate(session)) socket.destroy();
    }
  }

  const sweeper = setInterval(sweep, timeout / 4).unref();
  return {
    watchSession(session, socket) {
      sockets.set(session, socket);
      socket.once("close", () => sockets.delete(session));
    },
    watchStream(stream) {
      streams.push(stream);
      if (streams.length >= sortOutAt) sortOut();
    },
    hasStreams: (session) => streams.some((stream) => stream.session === session && !stream.destroyed),
    [Symbol.dispose]: () => clearInterval(sweeper),
  };
}

/** Either for the rest of the request, unless the answer has begun before, or to take the whole of the answer. */
function waitsForPeer(stream: ServerHttp2Stream): boolean {
  return stream.writableEnded || (!stream.readableEnded && !stream.headersSent);
}
