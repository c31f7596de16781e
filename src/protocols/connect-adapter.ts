import type { ConnectRouter } from "@connectrpc/connect";
import { compressionBrotli, compressionGzip, connectNodeAdapter } from "@connectrpc/connect-node";
import { oneAfterTheOther } from "./decompression.ts";
import { errorBody, type HttpHandler, type HttpRequest, type HttpResponse, sendJson } from "./http.ts";
import { shortenTimeout } from "./timeouts.ts";

interface ConnectAdapterOptions {
  readonly routes: (router: ConnectRouter) => void;
  /** Gets what is no RPC of the routes. */
  readonly fallback: HttpHandler;
  /** Of a request's message at most, in bytes. */
  readonly maxMessageSize: number;
}

/** Connect's adapter, which serves gRPC, gRPC-Web and Connect, hardened against what callers may send. */
export function createConnectAdapter({
  routes,
  fallback,
  maxMessageSize,
}: ConnectAdapterOptions): HttpHandler {
  const connect = connectNodeAdapter({
    routes,
    fallback,
    readMaxBytes: maxMessageSize,
    acceptCompression: [compressionGzip, compressionBrotli].map(oneAfterTheOther),
  });

  return (request, response) => {
    // The adapter may have stopped listening when a request breaks off, and an error nobody hears ends the process.
    request.on("error", ignore);
    readToTheEnd(request, response);
    shortenTimeout(request);
    try {
      connect(request, response);
    } catch {
      // The adapter throws at once when a request has no usable host, which it needs for the request's URL.
      sendJson(request, response, 400, errorBody(400, "Bad Request"));
    }
  };
}

function ignore(): void {}

/**
 * The adapter destroys a request when it refuses its message, and Node then never reads what is left of it: over HTTP/1.1
 * the next request on the connection waits for it until both time out, over HTTP/2 the stream stays for ever.
 */
function readToTheEnd(request: HttpRequest, response: HttpResponse): void {
  request[Symbol.asyncIterator] = iterateWithoutDestroying;
  // Over HTTP/2, the response itself finishes with the stream, and the stream not before the request is read.
  const sent = "stream" in response ? response.stream : response;
  sent.once("finish", () => request.resume());
}

function iterateWithoutDestroying(this: HttpRequest): NodeJS.AsyncIterator<unknown> {
  return this.iterator({ destroyOnReturn: false });
}
