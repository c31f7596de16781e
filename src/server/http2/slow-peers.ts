import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { type Link, LinkedList } from "../../protocols/linked-list.ts";
import { type Keepalive, keepAlive } from "./keepalive.ts";

/** Ends what HTTP/2 clients leave hanging, which node:http2 lets stay for ever. */
export interface SlowPeers {
  /** @param socket the session's own, which alone can be closed while the client reads nothing. */
  watchSession(session: Http2Session, socket: Socket): void;
  watchStream(stream: ServerHttp2Stream): void;
  /** @param now in milliseconds, of the sweeps' clock. */
  sweep(now: number): void;
}

const place = Symbol("place");

/** A stream with its place among those that are watched. */
type Watched = ServerHttp2Stream & { [place]?: number };

const idleSince = Symbol("idleSince");

/** A session with when it was first seen without a stream. Undefined: it has one, or has had one since the last sweep. */
type WatchedSession = Http2Session & { [idleSince]?: number | undefined };

/** All in milliseconds. */
interface PeerTimeouts {
  /** For the rest of a request, and for the client to take what was written to a stream. An answer under way has no limit. */
  readonly peerTimeout: number;
  /** Without a stream. Node's own timeout of a session is set anew with every frame, which costs a gRPC call 3 % of its time. */
  readonly idleTimeout: number;
  readonly keepAliveTime: number;
  readonly keepAliveTimeout: number;
}

export function watchSlowPeers(timeouts: PeerTimeouts): SlowPeers {
  const { peerTimeout, idleTimeout } = timeouts;
  const sessions = new LinkedList<{ session: WatchedSession; socket: Socket; keepalive: Keepalive }>();
  // Places that are taken and left again, rather than a Set: V8 replaces a Set's table every few changes, and one table
  // that has grown old would keep all streams of those that come after it.
  const streams: (Watched | undefined)[] = [];
  const free: number[] = [];
  /** What the last sweep found waiting for its client, and since when. */
  let late = new Map<ServerHttp2Stream | Http2Session, number>();

  function forget(this: Watched): void {
    const at = this[place] as number;
    streams[at] = undefined;
    free.push(at);
  }

  function sweep(now: number): void {
    const before = late;
    late = new Map();
    const isTooLate = (peer: ServerHttp2Stream | Http2Session) => {
      const since = before.get(peer) ?? now;
      late.set(peer, since);
      return now - since >= peerTimeout;
    };
    for (const stream of streams) {
      if (stream === undefined) continue;
      noteBusy(stream);
      if (!waitsForPeer(stream) || !isTooLate(stream)) continue;
      // A client that does not even take the reset takes nothing at all.
      if (stream.closed) stream.session?.destroy();
      else stream.close(constants.NGHTTP2_CANCEL);
    }
    for (const { session, socket, keepalive } of sessions.toArray()) {
      // A session that has been ended waits until the client has taken what was sent last.
      if (session.destroyed) {
        if (isTooLate(session)) socket.destroy();
        continue;
      }
      if (session[idleSince] === undefined) {
        session[idleSince] = now;
        if (keepalive.isDead(now)) {
          session.destroy();
          socket.destroy();
        }
      } else if (now - session[idleSince] >= idleTimeout) session.destroy();
    }
  }

  return {
    watchSession(session, socket) {
      const link: Link<unknown> = sessions.add({
        session,
        socket,
        keepalive: keepAlive(session, socket, timeouts),
      });
      socket.once("close", () => link.remove());
    },
    watchStream(stream: Watched) {
      const at = free.pop() ?? streams.length;
      streams[at] = stream;
      stream[place] = at;
      stream.on("close", forget);
      noteBusy(stream);
    },
    sweep,
  };
}

/** Costs less than to look at the clock: the next sweep does that. */
function noteBusy({ session }: ServerHttp2Stream): void {
  if (session !== undefined) (session as WatchedSession)[idleSince] = undefined;
}

/** For the rest of the request, unless the answer has begun before, or to take what has been written of the answer. */
function waitsForPeer(stream: ServerHttp2Stream): boolean {
  return stream.writableEnded || stream.writableLength > 0 || (!stream.readableEnded && !stream.headersSent);
}
