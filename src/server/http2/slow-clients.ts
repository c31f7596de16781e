import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { isTimedByEndpoint } from "../../protocols/held-responses.ts";
import { type Link, LinkedList } from "../../status/linked-list.ts";
import { type Keepalive, keepAlive } from "./keepalive.ts";

/** Ends the streams and sessions of slow and idle HTTP/2 clients, for which node:http2 has no timeouts. */
export interface SlowClients {
  /** @param socket the session's own, which alone can be closed while the client reads nothing. */
  watchSession(session: Http2Session, socket: Socket): void;
  watchStream(stream: ServerHttp2Stream): void;
  /** @param now in milliseconds, of the sweeps' clock. */
  sweep(now: number): void;
}

const slot = Symbol("slot");

/** A stream with its index in the list of those that are watched. */
type WatchedStream = ServerHttp2Stream & { [slot]?: number };

const idleSince = Symbol("idleSince");

/** A session with the time of the first sweep that saw it without a stream. Undefined: it has had one since the last sweep. */
type WatchedSession = Http2Session & { [idleSince]?: number | undefined };

/** All in milliseconds. */
interface ClientTimeouts {
  /**
   * For the rest of a request, and for the client to read what was written to a stream. A call in progress has no limit, nor has the
   * client of a watch that has not ended, which ends by itself.
   */
  readonly peerTimeout: number;
  /** Without a stream. Node's own timeout of a session restarts with every frame, which costs a gRPC call 3 % of its time. */
  readonly idleTimeout: number;
  readonly keepAliveTime: number;
  readonly keepAliveTimeout: number;
}

export function watchSlowClients(timeouts: ClientTimeouts): SlowClients {
  const { peerTimeout, idleTimeout } = timeouts;
  const sessions = new LinkedList<{ session: WatchedSession; socket: Socket; keepalive: Keepalive }>();
  // Slots that are reused, rather than a Set: V8 replaces a Set's backing store every few changes, and one store in old space
  // would keep all later streams alive.
  const streams: (WatchedStream | undefined)[] = [];
  const freeSlots: number[] = [];
  /** What the last sweep found waiting for its client, and since when. */
  let waiting = new Map<ServerHttp2Stream | Http2Session, number>();

  function forget(this: WatchedStream): void {
    const index = this[slot] as number;
    streams[index] = undefined;
    freeSlots.push(index);
  }

  function sweep(now: number): void {
    const before = waiting;
    waiting = new Map();
    const exceedsTimeout = (subject: ServerHttp2Stream | Http2Session) => {
      const since = before.get(subject) ?? now;
      waiting.set(subject, since);
      return now - since >= peerTimeout;
    };
    for (const stream of streams) {
      if (stream === undefined) continue;
      markBusy(stream);
      if (!waitsForClient(stream) || !exceedsTimeout(stream)) continue;
      // A client that does not even read the reset reads nothing at all.
      if (stream.closed) stream.session?.destroy();
      else stream.close(constants.NGHTTP2_CANCEL);
    }
    for (const { session, socket, keepalive } of sessions.toArray()) {
      // A session that has ended waits until the client has read what was sent last.
      if (session.destroyed) {
        if (exceedsTimeout(session)) socket.destroy();
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
    watchStream(stream: WatchedStream) {
      const index = freeSlots.pop() ?? streams.length;
      streams[index] = stream;
      stream[slot] = index;
      stream.on("close", forget);
      markBusy(stream);
    },
    sweep,
  };
}

/** Costs less than to read the clock, which the next sweep does. */
function markBusy({ session }: ServerHttp2Stream): void {
  if (session !== undefined) (session as WatchedSession)[idleSince] = undefined;
}

/** Whether the client has to send the rest of the request, unless the response has begun, or to read what was written. */
function waitsForClient(stream: ServerHttp2Stream): boolean {
  // Of a request that ended with its headers, nothing is read that would end the stream.
  const isWhole = stream.endAfterHeaders || stream.readableEnded;
  if (stream.writableEnded || (!isWhole && !stream.headersSent)) return true;
  return stream.writableLength > 0 && !isTimedByEndpoint(stream);
}
