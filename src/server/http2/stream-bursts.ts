import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";

/**
 * Where node:http2 says at once that a stream has begun. Its event comes later: for what a connection brings first, when all of
 * that has been looked at.
 */
const streamCreated = "http2.server.stream.created";

/** Watches how many calls clients begin in one turn of the event loop. */
export interface Bursts extends Disposable {
  watch(session: Http2Session): void;
}

const watcher = Symbol("watcher");

/** A session with what watches it: others in this process have sessions, too. */
type Watched = Http2Session & { [watcher]?: Bursts };

/**
 * Ends HTTP/2 connections that begin more calls in one turn of the event loop than they may have at the same time, not counting
 * those that were answered meanwhile: such a client has cancelled the others. nghttp2 counts cancelled calls too, but acts on it
 * only behind all that it was given to read, which is 64 KiB, or 400 calls, and every other caller would wait for them.
 *
 * @param most unanswered calls that each connection may begin in a turn.
 */
export function watchBursts(most: number): Bursts {
  /** What is read in a turn comes from one connection after the other. */
  let reading: Http2Session | undefined;
  let begun: ServerHttp2Stream[] = [];
  const endTurn = () => {
    reading = undefined;
    begun = [];
  };

  function count(message: unknown): void {
    const { stream } = message as { stream: ServerHttp2Stream };
    const session: Watched | undefined = stream.session;
    if (session?.[watcher] !== bursts) return;
    if (session !== reading) {
      if (reading === undefined) setImmediate(endTurn);
      reading = session;
      begun = [];
    }
    if (begun.push(stream) <= most) return;
    begun = begun.filter(isUnanswered);
    if (begun.length <= most) return;
    session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    session.destroy();
  }

  subscribe(streamCreated, count);
  const bursts: Bursts = {
    watch(session: Watched) {
      session[watcher] = bursts;
    },
    [Symbol.dispose]: () => void unsubscribe(streamCreated, count),
  };
  return bursts;
}

/** Or cancelled: Node ends those streams, too. */
function isUnanswered(stream: ServerHttp2Stream): boolean {
  return stream.rstCode !== constants.NGHTTP2_NO_ERROR || !stream.writableEnded;
}
