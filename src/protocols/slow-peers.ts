import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";

/** Ends what HTTP/2 peers leave hanging, which node:http2 lets stay for ever. */
export interface SlowPeers extends Disposable {
  /** @param socket the session's own, which alone can be closed while the peer takes nothing. */
  watchSession(session: Http2Session, socket: Socket): void;
  watchStream(stream: ServerHttp2Stream): void;
}

const place = Symbol("place");

/** A stream with its place among those that are watched. */
type Watched = ServerHttp2Stream & { [place]?: number };

const idleSince = Symbol("idleSince");

/** A session with when it was first seen without a stream. Undefined: it has one, or has had one since we last looked. */
type WatchedSession = Http2Session & { [idleSince]?: number | undefined };

/**
 * @param timeout how long, in milliseconds, a peer may take to send the rest of its request or to take our answer. Streams
 *   on which an answer is under way are left alone, however long that takes.
 * @param idleTimeout how long, in milliseconds, a connection may be without a stream. Node's own timeout of a session is
 *   set anew with every frame, which costs a gRPC call three hundredths of its time.
 */
export function watchSlowPeers(timeout: number, idleTimeout: number): SlowPeers {
  const sockets = new Map<WatchedSession, Socket>();
  // Places that are taken and left again, rather than a Set: V8 replaces a Set's table every few changes, and one table
  // that has grown old would keep all streams of those that come after it.
  const streams: (Watched | undefined)[] = [];
  const free: number[] = [];
  /** Who kept us waiting when we last looked, and since when. */
  let late = new Map<ServerHttp2Stream | Http2Session, number>();

  function forget(this: Watched): void {
    const at = this[place] as number;
    streams[at] = undefined;
    free.push(at);
  }

  function sweep(): void {
    const now = performance.now();
    const before = late;
    late = new Map();
    const isTooLate = (peer: ServerHttp2Stream | Http2Session) => {
      const since = before.get(peer) ?? now;
      late.set(peer, since);
      return now - since >= timeout;
    };
    for (const stream of streams) {
      if (stream === undefined) continue;
      noteBusy(stream);
      if (!waitsForPeer(stream) || !isTooLate(stream)) continue;
      // A peer that does not even take the reset takes nothing at all.
      if (stream.closed) stream.session?.destroy();
      else stream.close(constants.NGHTTP2_CANCEL);
    }
    for (const [session, socket] of sockets) {
      // A session that has been ended waits until the peer has taken its last words.
      if (session.destroyed) {
        if (isTooLate(session)) socket.destroy();
        continue;
      }
      session[idleSince] ??= now;
      if (now - session[idleSince] >= idleTimeout) session.destroy();
    }
  }

  const sweeper = setInterval(sweep, Math.min(timeout, idleTimeout) / 4).unref();
  return {
    watchSession(session, socket) {
      sockets.set(session, socket);
      socket.once("close", () => sockets.delete(session));
    },
    watchStream(stream: Watched) {
      const at = free.pop() ?? streams.length;
      streams[at] = stream;
      stream[place] = at;
      stream.on("close", forget);
      noteBusy(stream);
    },
    [Symbol.dispose]: () => clearInterval(sweeper),
  };
}

/** Costs less than to look at the clock: the next sweep does that. */
function noteBusy({ session }: ServerHttp2Stream): void {
  if (session !== undefined) (session as WatchedSession)[idleSince] = undefined;
}

/** Either for the rest of the request, unless the answer has begun before, or to take the whole of the answer. */
function waitsForPeer(stream: ServerHttp2Stream): boolean {
  return stream.writableEnded || (!stream.readableEnded && !stream.headersSent);
}
