import type { Registry } from "@bufbuild/protobuf";
import { type ContextValues, createContextValues } from "@connectrpc/connect";
import { compressionGzip, connectNodeAdapter } from "@connectrpc/connect-node";
import type { Endpoint } from "../../endpoints/endpoint.ts";
import { toConnectError } from "../../endpoints/errors.ts";
import type { Life } from "../../endpoints/life.ts";
import type { HttpRequest } from "../http.ts";
import { mediaTypeOf } from "../media-type.ts";
import { protocolOf } from "../protocol-of.ts";
import type { Receive } from "../receiving.ts";
import { shortenTimeout } from "../timeouts.ts";
import { oneAfterTheOther } from "./decompression.ts";
import { routesOf } from "./routes.ts";
import { contextOf, gate, noteReading, type RpcCall } from "./rpc-call.ts";
import { sendTrailersOnly } from "./trailers-only.ts";

interface ConnectAdapterOptions {
  readonly endpoints: readonly Endpoint[];
  readonly life: Life;
  /** Of a request's message at most, in bytes. */
  readonly maxMessageSize: number;
  readonly receive: Receive;
  /** The types that `google.protobuf.Any` may hold in JSON. Absent: none. */
  readonly registry?: Registry | undefined;
}

/** Answers a request for one of the RPCs. */
type RpcHandler = (request: HttpRequest, call: RpcCall) => void;

const contextValues = Symbol("contextValues");

/** A request with what Connect's adapter is to pass on of it. */
type WithContext = HttpRequest & { [contextValues]?: ContextValues };

/** Connect's adapter, which serves gRPC, gRPC-Web and Connect, hardened against what callers may send. */
export function createConnectAdapter({
  endpoints,
  life,
  maxMessageSize,
  receive,
  registry,
}: ConnectAdapterOptions): RpcHandler {
  const connect = connectNodeAdapter({
    routes: routesOf(endpoints, life),
    contextValues: (request: WithContext) => request[contextValues] ?? createContextValues(),
    requestGate: gate,
    interceptors: [noteReading],
    readMaxBytes: maxMessageSize,
    ...(registry !== undefined && { jsonOptions: { registry } }),
    // No Brotli: its decoder fills the window that the sender names before it gives anything away. 27 bytes of it would take
    // 16 MiB and 30 ms, whatever is the largest message.
    acceptCompression: [oneAfterTheOther(compressionGzip)],
  });

  return (request: WithContext, call) => {
    const { response } = call;
    request[contextValues] = contextOf(call);
    receive(request, response, toConnectError);
    if (protocolOf(request.method, request.headers, true) === "grpc") sendTrailersOnly(response);
    shortenTimeout(request);
    nameUsableHost(request);
    writePlainly(request);
    connect(request, response);
  };
}

/** The adapter makes a URL of each request, which not every host can be in: `%2Ftmp%2Fsocket`, or none. */
function nameUsableHost(request: HttpRequest): void {
  const isHttp2 = "stream" in request;
  const host = isHttp2 ? request.authority : request.headers.host;
  if (host !== undefined && URL.canParse(`http://${host}`)) return;
  request.headers[isHttp2 ? ":authority" : "host"] = "localhost";
}

/** The adapter knows media types and content codings as they are written mostly; neither depends on the case. */
function writePlainly({ headers }: HttpRequest): void {
  const { "content-type": type, "content-encoding": coding } = headers;
  if (type !== undefined) headers["content-type"] = mediaTypeOf(type);
  if (coding !== undefined) headers["content-encoding"] = coding.toLowerCase();
}
