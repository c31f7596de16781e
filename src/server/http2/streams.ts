import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { FastPath } from "../../protocols/grpc/fast-path.ts";
import type { FallBack } from "../../protocols/grpc/method.ts";
import type { HttpHandler } from "../../protocols/http.ts";
import { isTooLarge } from "../header-size.ts";
import { emitStream } from "../node-internals.ts";
import { OneFrameResponse } from "./one-frame-response.ts";

type ServeStream = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: readonly string[],
) => void;

/**
 * Serves the streams of all sessions: by the fast path, which falls back to the handler and Connect's adapter behind it.
 *
 * @param fastPath undefined: the handler gets every stream.
 */
export function serveStreams(
  handler: HttpHandler,
  fastPath: FastPath | undefined,
  maxHeaderSize: number = Number.POSITIVE_INFINITY,
): ServeStream {
  // It never listens, and makes requests and responses of the streams that it is given.
  const requests = createServer({ Http2ServerResponse: OneFrameResponse });
  requests.on("request", handler).on("checkContinue", handler);
  // Node would answer CONNECT with a 405 that does not name the methods that are allowed.
  requests.on("connect", handler);
  const fallBack: FallBack = (stream, headers, flags, rawHeaders = []) =>
    emitStream(requests, stream, headers, flags, rawHeaders);
  if (fastPath === undefined) return fallBack;
  return (stream, headers, flags, rawHeaders) => {
    // The handler refuses headers that are too large.
    if (isTooLarge(rawHeaders, maxHeaderSize)) fallBack(stream, headers, flags, rawHeaders);
    else fastPath.serve(stream, headers, flags, fallBack);
  };
}
