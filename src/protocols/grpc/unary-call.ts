import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Message } from "@bufbuild/protobuf";
import { toConnectError } from "../../endpoints/errors.ts";
import { endWithFailure } from "../../endpoints/failure.ts";
import { callerGone } from "../../status/call.ts";
import type { Observation } from "../../status/observation.ts";
import { passOn, requestIdHeader } from "../begin-call.ts";
import { answerHeaders } from "./answer-headers.ts";
import { GrpcCall } from "./call-context.ts";
import { readMessage, writeMessage } from "./framing.ts";
import { errorHeaders, headerPairs } from "./trailers.ts";
import type { FallBack, UnaryMethod } from "./unary-method.ts";

const okTrailers = { "grpc-status": "0" };
// The date is among the headers: node:http2 would have to be given an array of its own for each call, to put it there.
const okOptions = { waitForTrailers: true, sendDate: false };
const errorOptions = { endStream: true, sendDate: false };

const served = Symbol("served");

/** A stream with the call that it carries, so that all streams can share their listeners. */
type Served = ServerHttp2Stream & { [served]?: UnaryCall };

function onData(this: Served, chunk: Buffer): void {
  this[served]?.receive(chunk);
}

function onEnd(this: Served): void {
  this[served]?.receiveEnd();
}

function onWantTrailers(this: Served): void {
  this.sendTrailers(this[served]?.trailers ?? okTrailers);
}

function onClose(this: Served): void {
  this[served]?.close();
}

/** A stream that breaks closes, too. */
function onError(): void {}

/** A stream that was paused flows again once Connect's adapter listens. */
function resumeForAdapter(this: ServerHttp2Stream, event: string | symbol): void {
  if (event !== "data") return;
  this.off("newListener", resumeForAdapter);
  process.nextTick(() => this.resume());
}

/** One call of the fast path, from its stream to the bytes of its answer. */
export class UnaryCall extends GrpcCall {
  trailers: Readonly<Record<string, string>> = okTrailers;
  readonly #stream: Served;
  readonly #flags: number;
  readonly #method: UnaryMethod;
  readonly #fallBack: FallBack;
  /** From {@link begin} on. */
  #observation: Observation | undefined;
  #body: Buffer | undefined;
  #request: Message | undefined;
  #hasFallenBack = false;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    method: UnaryMethod,
    fallBack: FallBack,
  ) {
    super(method.endpoint.method, headers);
    this.#stream = stream;
    this.#flags = flags;
    this.#method = method;
    this.#fallBack = fallBack;
  }

  begin(): void {
    this.#observation = this.#method.observer.start(this);
    const stream = this.#stream;
    stream[served] = this;
    stream.on("data", onData);
    stream.on("end", onEnd);
    stream.on("wantTrailers", onWantTrailers);
    stream.on("close", onClose);
    stream.on("error", onError);
  }

  /** Takes a body that is one message in one piece. With any other, the stream falls back. */
  receive(chunk: Buffer): void {
    if (this.#body === undefined) {
      this.#body = chunk;
      this.#request = readMessage(this.method, this.#method.codec, chunk);
      if (this.#request !== undefined) {
        if (this.#method.isSafe) this.#run();
        return;
      }
    } else {
      this.#body = Buffer.concat([this.#body, chunk]);
    }
    const stream = this.#stream;
    this.#stopServing();
    stream.pause();
    stream.unshift(this.#body);
    stream.on("newListener", resumeForAdapter);
    this.#fallBack(stream, this.headers, this.#flags);
  }

  /** The request has come whole. Connect's adapter, when it takes one without a message, has to get its end once more. */
  receiveEnd(): void {
    // Node emits the end of a stream that was reset, too: its caller waits for no answer.
    if (this.#stream.closed) return;
    if (this.#request !== undefined) {
      if (!this.#method.isSafe) this.#run();
      return;
    }
    this.#stopServing();
    this.#fallBack(this.#stream, this.headers, this.#flags);
    process.nextTick(() => this.#stream.emit("end"));
  }

  #stopServing(): void {
    this.#hasFallenBack = true;
    const stream = this.#stream;
    stream.off("data", onData).off("end", onEnd).off("wantTrailers", onWantTrailers);
    stream.off("close", onClose).off("error", onError);
    // A handler that runs already runs on for nothing: such a body is rare, and the handler has no side effects.
    passOn(stream, { call: this, observation: this.#observation as Observation });
  }

  #run(): void {
    // What cannot even be sent as an error, such as a header that HTTP/2 does not allow, ends the stream.
    this.#answer().catch((reason) => {
      this.#fail(reason);
      this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
  }

  async #answer(): Promise<void> {
    let body: Buffer | undefined;
    let failure: unknown;
    try {
      const { codec, endpoint, life } = this.#method;
      const response = await life.unary(endpoint, this.#request as Message, this, this);
      body = writeMessage(this.method, codec, response);
    } catch (reason) {
      failure = reason;
    }
    const stream = this.#stream;
    if (!stream.readableEnded) await this.#end();
    if (stream.destroyed || stream.closed || this.#hasFallenBack) return;
    if (body === undefined) this.#refuse(failure);
    else this.#respond(body);
  }

  /** More may follow the message, which would make it another request. */
  #end(): Promise<void> {
    return new Promise((resolve) => this.#stream.once("end", resolve));
  }

  #fail(reason: unknown): void {
    if (this.#observation !== undefined) endWithFailure(this.#observation, this, reason);
  }

  /** The caller has had its answer, or has gone. */
  close(): void {
    this.cancel(this.#stream.headersSent ? undefined : callerGone);
    this.#observation?.end("CANCELLED");
  }

  #respond(body: Buffer): void {
    const { sentHeader: header, sentTrailer: trailer, requestId } = this;
    let headers = answerHeaders();
    if (header !== undefined) headers = [...headers, ...headerPairs(header)];
    if (requestId !== undefined) headers = [...headers, requestIdHeader, requestId];
    if (trailer !== undefined) this.trailers = { ...Object.fromEntries(trailer), ...okTrailers };
    this.#stream.respond(headers, okOptions);
    this.#stream.end(body);
    this.#observation?.end("OK");
  }

  /** Without a message, headers and trailers are one: "Trailers-Only", and cost less. */
  #refuse(failure: unknown): void {
    this.#fail(failure);
    const { sentHeader: header, sentTrailer: trailer, requestId } = this;
    const sent = [...headerPairs(header), ...headerPairs(trailer), ...errorHeaders(toConnectError(failure))];
    if (requestId !== undefined) sent.push(requestIdHeader, requestId);
    this.#stream.respond([...answerHeaders(), ...sent], errorOptions);
  }
}
