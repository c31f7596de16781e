import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { DescMethod, DescMethodUnary, Message } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import {
  type CallObservation,
  type CallObserver,
  endWithError,
  type Observe,
  unobserved,
} from "../../endpoints/observer.ts";
import { type Authenticate, anyCaller } from "../../server/authentication.ts";
import { addressOfSession, CallInfo, requestIdHeader } from "../call-info.ts";
import { isHost } from "../target.ts";
import { answerHeaders } from "./answer-headers.ts";
import { gone, UnaryContext } from "./call-context.ts";
import { readMessage, type UnaryCodec, writeMessage } from "./framing.ts";
import { errorHeaders, headerPairs } from "./trailers.ts";

/** Passes a stream on to the reference, as if nobody had looked at it. */
export type HandOver = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  /** Names and values in turn. Absent: they have been looked at. */
  rawHeaders?: readonly string[],
) => void;

/**
 * The fast lane for gRPC: unary calls with one uncompressed binary message, straight on node:http2's streams.
 *
 * Whatever is not exactly that is handed over untouched to Connect's adapter, which is the reference. So the lane
 * has no protocol errors of its own: it knows a method's answer and a method's error, and nothing else.
 */
export interface GrpcUnaryLane {
  /** Notes the unary methods that are registered through the router returned, which passes them on. */
  collect(router: ConnectRouter): ConnectRouter;
  /** Answers a stream, or hands it over: at once, or when its body turns out to be unusual. */
  serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, handOver: HandOver): void;
}

interface Method {
  readonly method: DescMethodUnary;
  readonly codec: UnaryCodec | undefined;
  /** It may run before the end of the request has come, since running it for nothing does no harm. */
  readonly isSafe: boolean;
  readonly run: (request: Message, context: HandlerContext) => Promise<Message> | Message;
  readonly observer: CallObserver;
}

interface LaneOptions {
  readonly observe?: Observe;
  readonly authenticate?: Authenticate;
}

const laneTimeout = /^\d{1,8}[HMSmun]$/;

const okTrailers = { "grpc-status": "0" };
// The date is among the headers: node:http2 would have to be given an array of its own for each call, to put it there.
const okOptions = { waitForTrailers: true, sendDate: false };
const errorOptions = { endStream: true, sendDate: false };

/** @param codecs by the method's descriptor, for those that are worth it. */
export function createGrpcUnaryLane(
  codecs: ReadonlyMap<DescMethod, UnaryCodec> = new Map(),
  { observe = unobserved, authenticate = anyCaller }: LaneOptions = {},
): GrpcUnaryLane {
  const methods = new Map<string, Method>();

  return {
    collect(router) {
      const collecting: ConnectRouter = Object.create(router);
      collecting.service = (service, implementation, options) => {
        for (const method of service.methods) {
          const run = (implementation as Record<string, unknown>)[method.localName];
          if (method.methodKind !== "unary" || typeof run !== "function") continue;
          methods.set(`/${service.typeName}/${method.name}`, {
            method: method as DescMethodUnary,
            codec: codecs.get(method),
            isSafe: method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS,
            run: run.bind(implementation),
            observer: observe("grpc", `${service.typeName}/${method.name}`),
          });
        }
        router.service(service, implementation, options);
        return collecting;
      };
      return collecting;
    },

    serve(stream: Served, headers, flags, handOver) {
      const path = headers[":path"] ?? "";
      const method = methods.get(path);
      if (method === undefined || stream.endAfterHeaders || !isPlain(headers)) {
        return handOver(stream, headers, flags);
      }
      const info = new CallInfo(
        headers[requestIdHeader] as string | undefined,
        addressOfSession(stream.session),
      );
      // Connect's adapter refuses calls.
      authenticate(info, path, { headers });
      if (!info.isAdmitted) return handOver(stream, headers, flags);
      stream[served] = new UnaryCall(stream, headers, flags, method, handOver, info);
      stream.on("data", onData);
      stream.on("end", onEnd);
      stream.on("wantTrailers", onWantTrailers);
      stream.on("close", onClose);
      stream.on("error", onError);
    },
  };
}

function isPlain(headers: IncomingHttpHeaders): boolean {
  const timeout = headers["grpc-timeout"];
  const encoding = headers["grpc-encoding"];
  const type = headers["content-type"];
  return (
    headers[":method"] === "POST" &&
    (type === "application/grpc" || type === "application/grpc+proto") &&
    (timeout === undefined || laneTimeout.test(timeout as string)) &&
    (encoding === undefined || encoding === "identity") &&
    isHost(headers[":authority"] ?? headers.host ?? "")
  );
}

const served = Symbol("served");

/** A stream with the call that it carries, so that all streams can share their listeners. */
type Served = ServerHttp2Stream & { [served]?: UnaryCall };

function onData(this: Served, chunk: Buffer): void {
  this[served]?.receive(chunk);
}

function onEnd(this: Served): void {
  this[served]?.end();
}

function onWantTrailers(this: Served): void {
  this.sendTrailers(this[served]?.trailers ?? okTrailers);
}

function onClose(this: Served): void {
  this[served]?.close();
}

/** A stream that breaks closes, too. */
function onError(): void {}

/** A stream that was paused flows again once somebody else listens, which nobody does before it is handed over. */
function resumeForNext(this: ServerHttp2Stream, event: string | symbol): void {
  if (event !== "data") return;
  this.off("newListener", resumeForNext);
  process.nextTick(() => this.resume());
}

class UnaryCall extends UnaryContext {
  trailers: Readonly<Record<string, string>> = okTrailers;
  readonly #stream: Served;
  readonly #flags: number;
  readonly #registered: Method;
  readonly #handOver: HandOver;
  #body: Buffer | undefined;
  #request: Message | undefined;
  #handedOver = false;
  readonly #observation: CallObservation;

  constructor(
    stream: Served,
    headers: IncomingHttpHeaders,
    flags: number,
    method: Method,
    handOver: HandOver,
    info: CallInfo,
  ) {
    super(method.method, headers, info);
    this.#observation = method.observer.start(info);
    this.#stream = stream;
    this.#flags = flags;
    this.#registered = method;
    this.#handOver = handOver;
  }

  /** Takes a body that is one message in one piece. With any other, hands the stream over. */
  receive(chunk: Buffer): void {
    if (this.#body === undefined) {
      this.#body = chunk;
      this.#request = readMessage(this.method, this.#registered.codec, chunk);
      if (this.#request !== undefined) {
        if (this.#registered.isSafe) this.#run();
        return;
      }
    } else {
      this.#body = Buffer.concat([this.#body, chunk]);
      this.#handedOver = true;
      this.abort(new ConnectError("the request goes on", Code.Canceled));
    }
    this.#pass();
    this.#stream.pause();
    this.#stream.unshift(this.#body);
    this.#stream.on("newListener", resumeForNext);
    this.#handOver(this.#stream, this.headers, this.#flags);
  }

  /** The request has come whole. Whoever takes over one without a message gets to know its end once more. */
  end(): void {
    // Node says so of one that was reset, too: nobody waits for an answer.
    if (this.#stream.closed) return;
    if (this.#request !== undefined) {
      if (!this.#registered.isSafe) this.#run();
      return;
    }
    this.#pass();
    this.#handOver(this.#stream, this.headers, this.#flags);
    process.nextTick(() => this.#stream.emit("end"));
  }

  #pass(): void {
    this.#observation.discard();
    const stream = this.#stream;
    stream.off("data", onData).off("end", onEnd).off("wantTrailers", onWantTrailers);
    stream.off("close", onClose).off("error", onError);
  }

  #run(): void {
    // What cannot even be said as an error, such as a header that HTTP/2 does not allow, ends the stream.
    this.#answer().catch((reason) => {
      endWithError(this.#observation, this.info, reason);
      this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
  }

  async #answer(): Promise<void> {
    let body: Buffer | undefined;
    let error: unknown;
    try {
      const { codec, run } = this.#registered;
      body = writeMessage(this.method, codec, await run(this.#request as Message, this));
    } catch (reason) {
      error = reason;
    }
    const stream = this.#stream;
    if (!stream.readableEnded) await this.#end();
    if (stream.destroyed || stream.closed || this.#handedOver) return;
    if (body === undefined) this.#refuse(error);
    else this.#respond(body);
  }

  /** More may follow the message, which would make it another request. */
  #end(): Promise<void> {
    return new Promise((resolve) => this.#stream.once("end", resolve));
  }

  /** The caller has had its answer, or has gone. */
  close(): void {
    this.abort(this.#stream.headersSent ? undefined : gone);
    this.#observation.end("CANCELLED");
  }

  #respond(body: Buffer): void {
    const { sentHeader: header, sentTrailer: trailer } = this;
    const { requestId } = this.info;
    let headers = answerHeaders();
    if (header !== undefined) headers = [...headers, ...headerPairs(header)];
    if (requestId !== undefined) headers = [...headers, requestIdHeader, requestId];
    if (trailer !== undefined) this.trailers = { ...Object.fromEntries(trailer), ...okTrailers };
    this.#stream.respond(headers, okOptions);
    this.#stream.end(body);
    this.#observation.end("OK");
  }

  /** Without a message, headers and trailers are one: "Trailers-Only", and cost less. */
  #refuse(error: unknown): void {
    endWithError(this.#observation, this.info, error);
    const { sentHeader: header, sentTrailer: trailer } = this;
    const { requestId } = this.info;
    const sent = [...headerPairs(header), ...headerPairs(trailer), ...errorHeaders(error)];
    if (requestId !== undefined) sent.push(requestIdHeader, requestId);
    this.#stream.respond([...answerHeaders(), ...sent], errorOptions);
  }
}
