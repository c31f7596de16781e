import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";

/** Detects that the client of an HTTP/2 connection is unreachable. */
export interface Keepalive {
  /** Called at each sweep while the session has streams. @param now in milliseconds, of the sweeps' clock. */
  isDead(now: number): boolean;
}

interface KeepaliveTimes {
  /** How long, in milliseconds, nothing may arrive from the client before it gets a PING. */
  readonly keepAliveTime: number;
  /** How long, in milliseconds, the client may take to answer. */
  readonly keepAliveTimeout: number;
}

/**
 * A client whose machine or network has failed sends neither FIN nor RST, and its streams would stay open for ever. Any bytes
 * from the client count as an answer to the PING (RFC 9113, section 6.7).
 *
 * @param socket the session's own.
 */
export function keepAlive(
  session: Http2Session,
  socket: Socket,
  { keepAliveTime, keepAliveTimeout }: KeepaliveTimes,
): Keepalive {
  let bytesRead = -1;
  let lastReadAt = 0;
  let pingedAt: number | undefined;

  return {
    isDead(now) {
      if (socket.bytesRead !== bytesRead) {
        bytesRead = socket.bytesRead;
        lastReadAt = now;
        pingedAt = undefined;
      } else if (pingedAt !== undefined) {
        return now - pingedAt >= keepAliveTimeout;
      } else if (now - lastReadAt >= keepAliveTime && !session.closed) {
        pingedAt = now;
        session.ping(() => {});
      }
      return false;
    },
  };
}
