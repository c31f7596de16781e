import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";

/**
 * Where node:http2 says at once that a stream has begun. Its event comes later: for what a connection brings first, when all of
 * that has been looked at.
 */
const streamCreated = "http2.server.stream.created";

/**
 * Ends HTTP/2 connections that begin more calls in one turn of the event loop than they may have at the same time: who does
 * has cancelled the others. nghttp2 counts cancelled calls too, but acts on it only behind all that it was given to read, which
 * is 64 KiB, or 400 calls, and everybody else would wait for them.
 *
 * @param sessions the connections that are watched.
 * @param most calls that each may begin in a turn.
 */
export function watchBursts(sessions: ReadonlySet<Http2Session>, most: number): Disposable {
  /** What is read in a turn comes from one connection after the other. */
  let reading: Http2Session | undefined;
  let begun = 0;
  const endTurn = () => {
    reading = undefined;
  };

  function count(message: unknown): void {
    const { session } = (message as { stream: ServerHttp2Stream }).stream;
    if (session === undefined || !sessions.has(session)) return;
    if (session !== reading) {
      if (reading === undefined) setImmediate(endTurn);
      reading = session;
      begun = 0;
    }
    if (++begun <= most) return;
    session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    session.destroy();
  }

  subscribe(streamCreated, count);
  return { [Symbol.dispose]: () => void unsubscribe(streamCreated, count) };
}
