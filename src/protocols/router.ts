import { Code, type ConnectRouter } from "@connectrpc/connect";
import { createConnectAdapter } from "./connect-adapter.ts";
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

export interface Routes {
  readonly rest: Rest;
  /** By their paths. */
  readonly probes: ReadonlyMap<string, HttpHandler>;
  /** What Connect's adapter serves: gRPC, gRPC-Web and Connect. */
  readonly rpcs: readonly ((router: ConnectRouter) => void)[];
  /** Learns of the same RPCs, to answer the usual calls by itself. */
  readonly lane: GrpcUnaryLane | undefined;
  /** Of a request's message at most, in bytes. Absent: 64 KiB, where the longest that a caller needs has some hundred. */
  readonly maxMessageSize?: number;
  /** Of the messages of all requests that are under way at most, in bytes. Absent: there is no bound. */
  readonly maxReceivingSize?: number;
}

/** Sends every request to whom it is for. */
export function createRouter({
  rest,
  probes,
  rpcs,
  lane,
  maxMessageSize = 2 ** 16,
  maxReceivingSize = Number.POSITIVE_INFINITY,
}: Routes): HttpHandler {
  const connect = createConnectAdapter({
    routes: (router) => {
      for (const routes of rpcs) routes(lane?.collect(router) ?? router);
    },
    fallback: notFound,
    maxMessageSize,
    maxReceivingSize,
  });

  return (request, response) => {
    const path = pathOf(request);
    if (rest.matches(path)) return rest.handle(request, response);
    const probe = probes.get(path);
    if (probe !== undefined) return probe(request, response);
    connect(request, response);
  };
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
