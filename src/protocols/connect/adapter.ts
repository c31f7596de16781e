import { type ConnectRouter, type ContextValues, createContextValues } from "@connectrpc/connect";
import { compressionGzip, connectNodeAdapter } from "@connectrpc/connect-node";
import { toConnectError } from "../../endpoints/errors.ts";
import { overloaded } from "../../status/errors.ts";
import type { HttpHandler, HttpRequest } from "../http.ts";
import { mediaTypeOf } from "../media-type.ts";
import { protocolOf } from "../protocol-of.ts";
import { oneAfterTheOther } from "./decompression.ts";
import { contextOf, gate, noteReading, type RpcCall } from "./rpc-call.ts";
import { shortenTimeout } from "./timeouts.ts";
import { sendTrailersOnly } from "./trailers-only.ts";

interface ConnectAdapterOptions {
  readonly routes: (router: ConnectRouter) => void;
  /** Of a request's message at most, in bytes. */
  readonly maxMessageSize: number;
  /** Of the messages of all requests that are under way at most, in bytes. */
  readonly maxReceivingSize: number;
}

/** Answers a request for one of the RPCs. */
type RpcHandler = (request: HttpRequest, call: RpcCall) => void;

const contextValues = Symbol("contextValues");

/** A request with what Connect's adapter is to pass on of it. */
type WithContext = HttpRequest & { [contextValues]?: ContextValues };

/** Connect's adapter, which serves gRPC, gRPC-Web and Connect, hardened against what callers may send. */
export function createConnectAdapter({
  routes,
  maxMessageSize,
  maxReceivingSize,
}: ConnectAdapterOptions): RpcHandler {
  const receive = createReceiver(maxReceivingSize);
  const connect = connectNodeAdapter({
    routes,
    contextValues: (request: WithContext) => request[contextValues] ?? createContextValues(),
    requestGate: gate,
    interceptors: [noteReading],
    readMaxBytes: maxMessageSize,
    // No Brotli: its decoder fills the window that the sender names before it gives anything away. 27 bytes of it would take
    // 16 MiB and 30 ms, whatever is the largest message.
    acceptCompression: [oneAfterTheOther(compressionGzip)],
  });

  return (request: WithContext, call) => {
    const { response } = call;
    request[contextValues] = contextOf(call);
    // The adapter may have stopped listening when a request breaks off, and an error nobody hears ends the process.
    request.on("error", ignore);
    receive(request, response);
    if (protocolOf(request.method, request.headers, true) === "grpc") sendTrailersOnly(response);
    shortenTimeout(request);
    nameUsableHost(request);
    writePlainly(request);
    connect(request, response);
  };
}

function ignore(): void {}

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

/** So much of each message, in bytes, does not count: however many large ones come, usual calls are not shed for them. */
const uncounted = 2 ** 14;

function countOf(received: number): number {
  return Math.max(0, received - uncounted);
}

/**
 * Has requests give the adapter their messages, with what it leaves open:
 *
 * - It bounds each message, and not all of them. A peer may have many half sent, or wait to be decompressed, each almost as
 *   large as one may be. What comes of a request counts until its response is over; what is too much is shed.
 * - It destroys a request when it refuses its message, and Node then never reads what is left of it: over HTTP/1.1 the next
 *   request on the connection waits for it until both time out, over HTTP/2 the stream stays for ever.
 */
function createReceiver(maxReceivingSize: number): HttpHandler {
  let receiving = 0;

  return (request, response) => {
    // Over HTTP/2, the response itself finishes with the stream, and the stream not before the request is read.
    const sent = "stream" in response ? response.stream : response;
    let received = 0;
    sent.once("finish", () => request.resume());
    sent.once("close", () => {
      receiving -= countOf(received);
      // What is still read behind the answer is nobody's any more.
      received = Number.NEGATIVE_INFINITY;
    });

    async function* iterate(): AsyncGenerator<Buffer, undefined> {
      // The caller waits to be told to send its message: its headers were no reason to refuse it (RFC 9110, section 10.1.1).
      if (/^100-continue$/i.test(request.headers.expect ?? "")) response.writeContinue();
      for await (const chunk of request.iterator({ destroyOnReturn: false })) {
        const more = countOf(received + chunk.length) - countOf(received);
        if (receiving + more > maxReceivingSize) throw toConnectError(overloaded("MAX_RECEIVING_SIZE"));
        received += chunk.length;
        receiving += more;
        yield chunk;
      }
    }
    request[Symbol.asyncIterator] = iterate;
  };
}
