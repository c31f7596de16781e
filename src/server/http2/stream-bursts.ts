import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";

/**
 * The channel on which node:http2 announces each stream as soon as it begins. The event "stream" comes later: for the first
 * bytes of a connection, after all of them have been read.
 */
const streamCreated = "http2.server.stream.created";

/** Limits how many calls a client begins in one turn of the event loop. */
export interface Bursts extends Disposable {
  watch(session: Http2Session): void;
}

const watcher = Symbol("watcher");

/** A session with what watches it: the channel also announces the streams of other servers in this process. */
type WatchedSession = Http2Session & { [watcher]?: Bursts };

/**
 * Ends HTTP/2 connections that begin more calls in one turn of the event loop than they may have at the same time, not counting
 * those that were answered meanwhile: such a client has cancelled the others ("rapid reset"). nghttp2 limits resets, too, but
 * only after all that it was given to read: 64 KiB, or 400 calls, for which every other client would wait.
 *
 * @param limit of unanswered calls that each connection may begin in a turn.
 */
export function watchBursts(limit: number): Bursts {
  /** What is read in a turn comes from one connection after the other. */
  let reading: Http2Session | undefined;
  let begun: ServerHttp2Stream[] = [];
  const endTurn = () => {
    reading = undefined;
    begun = [];
  };

  function count(message: unknown): void {
    const { stream } = message as { stream: ServerHttp2Stream };
    const session: WatchedSession | undefined = stream.session;
    if (session?.[watcher] !== bursts) return;
    if (session !== reading) {
      if (reading === undefined) setImmediate(endTurn);
      reading = session;
      begun = [];
    }
    if (begun.push(stream) <= limit) return;
    begun = begun.filter(isUnanswered);
    if (begun.length <= limit) return;
    session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    session.destroy();
  }

  subscribe(streamCreated, count);
  const bursts: Bursts = {
    watch(session: WatchedSession) {
      session[watcher] = bursts;
    },
    [Symbol.dispose]: () => void unsubscribe(streamCreated, count),
  };
  return bursts;
}

/** Cancelled streams count as unanswered, although Node ends them. */
function isUnanswered(stream: ServerHttp2Stream): boolean {
  return stream.rstCode !== constants.NGHTTP2_NO_ERROR || !stream.writableEnded;
}
