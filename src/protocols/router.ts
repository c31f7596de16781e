import { Code, type ConnectRouter } from "@connectrpc/connect";
import { compressionBrotli, compressionGzip, connectNodeAdapter } from "@connectrpc/connect-node";
import { oneAfterTheOther } from "./decompression.ts";
import type { GrpcUnaryLane } from "./grpc-unary.ts";
import {
  errorBody,
  type HttpHandler,
  type HttpRequest,
  type HttpResponse,
  pathOf,
  sendJson,
} from "./http.ts";
import type { Rest } from "./rest.ts";
import { shortenTimeout } from "./timeouts.ts";

export interface Routes {
  readonly rest: Rest;
  /** By their paths. */
  readonly probes: ReadonlyMap<string, HttpHandler>;
  /** What Connect's adapter serves: gRPC, gRPC-Web and Connect. */
  readonly rpcs: readonly ((router: ConnectRouter) => void)[];
  /** Learns of the same RPCs, to answer the usual calls by itself. */
  readonly lane: GrpcUnaryLane | undefined;
  /** Of a request's message at most, in bytes. Absent: what gRPC implementations accept by default, 4 MiB. */
  readonly maxMessageSize?: number;
}

/** Sends every request to whom it is for. */
export function createRouter({
  rest,
  probes,
  rpcs,
  lane,
  maxMessageSize = 4 * 2 ** 20,
}: Routes): HttpHandler {
  const connect = connectNodeAdapter({
    routes: (router) => {
      for (const routes of rpcs) routes(lane?.collect(router) ?? router);
    },
    fallback: notFound,
    readMaxBytes: maxMessageSize,
    acceptCompression: [compressionGzip, compressionBrotli].map(oneAfterTheOther),
  });

  return (request, response) => {
    const path = pathOf(request);
    if (rest.matches(path)) return rest.handle(request, response);
    const probe = probes.get(path);
    if (probe !== undefined) return probe(request, response);
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

const unknownMethod = JSON.stringify({ code: "unimplemented", message: "unknown method" });

function notFound(request: HttpRequest, response: HttpResponse): void {
  const contentType = request.headers["content-type"] ?? "";
  if (!contentType.startsWith("application/grpc")) {
    // A POST is a call of Connect's, and REST knows none: it gets an error as Connect writes it.
    const body = request.method === "POST" ? unknownMethod : errorBody(404, "Not Found");
    sendJson(request, response, 404, body);
    return;
  }
  // gRPC has its own word for it, and sends it with HTTP status 200 (gRPC over HTTP/2, "Responses").
  // Headers that are not written ahead leave together with the end: they are the trailers, too.
  response.statusCode = 200;
  response.setHeader("Content-Type", contentType);
  response.setHeader("Grpc-Status", String(Code.Unimplemented));
  response.setHeader("Grpc-Message", "unknown method");
  response.end();
}
