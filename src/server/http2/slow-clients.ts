import { constants, type Http2Session, type Http2Stream, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { type Link, LinkedList } from "../../protocols/linked-list.ts";
import { type Keepalive, keepAlive } from "./keepalive.ts";
import type { StreamTable } from "./stream-table.ts";

/** Ends the streams and sessions of slow and idle HTTP/2 clients, for which node:http2 has no timeouts. */
export interface SlowClients {
  /**
   * @param socket the session's own, which alone can be closed while the client reads nothing.
   * @param streams those of the session that are open. A call pays nothing for being watched: the sweep looks at the table.
   */
  watch(session: Http2Session, socket: Socket, streams: StreamTable): void;
  /** @param now in milliseconds, of the sweeps' clock. */
  sweep(now: number): void;
}

interface WatchedSession {
  readonly session: Http2Session;
  readonly socket: Socket;
  readonly streams: StreamTable;
  readonly keepalive: Keepalive;
  /** The greatest stream id that the last sweep saw. */
  lastStream: number;
  /** The time of the sweep since which it has had no stream. Undefined: a stream has begun since the last sweep, or is open. */
  idleSince: number | undefined;
}

/** All in milliseconds. */
interface ClientTimeouts {
  /** For the rest of a request, and for the client to read what was written to a stream. A call in progress has no limit. */
  readonly peerTimeout: number;
  /** Without a stream. Node's own timeout of a session restarts with every frame, which costs a gRPC call 3 % of its time. */
  readonly idleTimeout: number;
  readonly keepAliveTime: number;
  readonly keepAliveTimeout: number;
}

export function watchSlowClients(timeouts: ClientTimeouts): SlowClients {
  const { peerTimeout, idleTimeout } = timeouts;
  const sessions = new LinkedList<WatchedSession>();
  /** What the last sweep found waiting for its client, and since when. */
  let waiting = new Map<Http2Stream | Http2Session, number>();

  function sweep(now: number): void {
    const before = waiting;
    waiting = new Map();
    const exceedsTimeout = (subject: Http2Stream | Http2Session) => {
      const since = before.get(subject) ?? now;
      waiting.set(subject, since);
      return now - since >= peerTimeout;
    };
    const sweepStream = (stream: Http2Stream) => {
      if (!waitsForClient(stream) || !exceedsTimeout(stream)) return;
      // A client that does not even read the reset reads nothing at all.
      if (stream.closed) stream.session?.destroy();
      else stream.close(constants.NGHTTP2_CANCEL);
    };
    for (const watched of sessions.toArray()) {
      const { session, socket, streams, keepalive } = watched;
      if (streams.size > 0 || streams.greatest !== watched.lastStream) watched.idleSince = undefined;
      watched.lastStream = streams.greatest;
      streams.forEach(sweepStream);
      // A session that has ended waits until the client has read what was sent last.
      if (session.destroyed) {
        if (exceedsTimeout(session)) socket.destroy();
        continue;
      }
      if (watched.idleSince === undefined) {
        watched.idleSince = now;
        if (keepalive.isDead(now)) {
          session.destroy();
          socket.destroy();
        }
      } else if (now - watched.idleSince >= idleTimeout) session.destroy();
    }
  }

  return {
    watch(session, socket, streams) {
      const keepalive = keepAlive(session, socket, timeouts);
      const link: Link<unknown> = sessions.add({
        session,
        socket,
        streams,
        keepalive,
        lastStream: streams.greatest,
        idleSince: undefined,
      });
      socket.once("close", () => link.remove());
    },
    sweep,
  };
}

/** Whether the client has to send the rest of the request, unless the response has begun, or to read what was written. */
function waitsForClient(stream: Http2Stream): boolean {
  return (
    stream.writableEnded ||
    stream.writableLength > 0 ||
    (!stream.readableEnded && !(stream as ServerHttp2Stream).headersSent)
  );
}
