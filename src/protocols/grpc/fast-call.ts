import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Message } from "@bufbuild/protobuf";
import { toConnectError } from "../../endpoints/errors.ts";
import { endWithFailure } from "../../endpoints/failure.ts";
import { callerGone } from "../../status/call.ts";
import type { Observation } from "../../status/observation.ts";
import { passOn, requestIdHeader } from "../begin-call.ts";
import { answerHeaders } from "./answer-headers.ts";
import { GrpcCall } from "./call-context.ts";
import { readMessage } from "./framing.ts";
import type { FallBack, FastMethod, ServedEndpoint } from "./method.ts";
import { errorTrailers, headerPairs } from "./trailers.ts";

const okStatus = ["grpc-status", "0"];
const okTrailers = { "grpc-status": "0" };
// The date is among the headers: node:http2 would have to be given an array of its own for each call, to put it there.
const answerOptions = { waitForTrailers: true, sendDate: false };
const trailersOnlyOptions = { endStream: true, sendDate: false };

const carried = Symbol("carried");

/** A stream with the call that it carries, so that all streams can share their listeners. */
type Carrier = ServerHttp2Stream & { [carried]?: FastCall };

function onData(this: Carrier, chunk: Buffer): void {
  this[carried]?.receive(chunk);
}

function onEnd(this: Carrier): void {
  this[carried]?.receiveEnd();
}

function onWantTrailers(this: Carrier): void {
  if (!this.closed) this.sendTrailers(this[carried]?.trailers ?? okTrailers);
}

function onClose(this: Carrier): void {
  this[carried]?.close();
}

/** A stream that breaks closes, too. */
function onError(): void {}

/** A stream that was paused flows again once Connect's adapter listens. */
function resumeForAdapter(this: ServerHttp2Stream, event: string | symbol): void {
  if (event !== "data") return;
  this.off("newListener", resumeForAdapter);
  process.nextTick(() => this.resume());
}

/** One call of the fast path: reads its request, or falls back, and writes the beginning and the end of its answer. */
export abstract class FastCall<Served extends ServedEndpoint = ServedEndpoint> extends GrpcCall {
  trailers: Readonly<Record<string, string>> = okTrailers;
  protected readonly stream: Carrier;
  protected readonly served: FastMethod<Served>;
  protected hasFallenBack = false;
  readonly #flags: number;
  readonly #fallBack: FallBack;
  #observation: Observation | undefined;
  #body: Buffer | undefined;
  #request: Message | undefined;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    served: FastMethod<Served>,
    fallBack: FallBack,
  ) {
    super(served.endpoint.method, headers);
    this.stream = stream;
    this.#flags = flags;
    this.served = served;
    this.#fallBack = fallBack;
  }

  /** Answers the request. Whatever it throws is a fault of this program. */
  protected abstract answer(request: Message): Promise<void>;

  /** From {@link begin} on. */
  protected get observation(): Observation {
    return this.#observation as Observation;
  }

  begin(): void {
    this.#observation = this.served.observer.start(this);
    const { stream } = this;
    stream[carried] = this;
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
      this.#request = readMessage(this.method, this.served.codec, chunk);
      if (this.#request !== undefined) {
        if (this.served.isSafe) this.#run(this.#request);
        return;
      }
    } else {
      this.#body = Buffer.concat([this.#body, chunk]);
    }
    const { stream } = this;
    this.#stopServing();
    stream.pause();
    stream.unshift(this.#body);
    stream.on("newListener", resumeForAdapter);
    this.#fallBack(stream, this.headers, this.#flags);
  }

  /** The request has come whole. Connect's adapter, when it takes one without a message, has to get its end once more. */
  receiveEnd(): void {
    const { stream } = this;
    // Node emits the end of a stream that was reset, too: its caller waits for no answer.
    if (stream.closed) return;
    const request = this.#request;
    if (request !== undefined) {
      // A stream may last: what it was asked with, and the piece of the connection's memory that it came in, are needed no more.
      this.#body = undefined;
      this.#request = undefined;
      if (!this.served.isSafe) this.#run(request);
      return;
    }
    this.#stopServing();
    this.#fallBack(stream, this.headers, this.#flags);
    process.nextTick(() => stream.emit("end"));
  }

  #stopServing(): void {
    this.hasFallenBack = true;
    const { stream } = this;
    stream.off("data", onData).off("end", onEnd).off("wantTrailers", onWantTrailers);
    stream.off("close", onClose).off("error", onError);
    // A handler that runs already runs on for nothing: such a body is rare, and the handler has no side effects.
    passOn(stream, { call: this, observation: this.observation });
  }

  #run(request: Message): void {
    // What cannot even be sent as an error, such as a header that HTTP/2 does not allow, ends the stream.
    this.answer(request).catch((reason) => {
      endWithFailure(this.observation, this, reason);
      this.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
  }

  /** The caller has had its answer, or has gone. */
  close(): void {
    this.cancel(callerGone);
    this.#observation?.end("CANCELLED");
  }

  /** Sends the headers of an answer that has messages. */
  protected respond(): void {
    const { sentHeader: header, requestId } = this;
    let headers = answerHeaders();
    if (header !== undefined) headers = [...headers, ...headerPairs(header)];
    if (requestId !== undefined) headers = [...headers, requestIdHeader, requestId];
    this.stream.respond(headers, answerOptions);
  }

  /** Ends an answer of which all messages are sent. */
  protected succeed(): void {
    const { stream, sentHeader, sentTrailer, requestId } = this;
    if (!stream.headersSent && headerPairs(sentHeader).length > 0) this.respond();
    const trailers = [...headerPairs(sentTrailer), ...okStatus];
    if (!stream.headersSent && requestId !== undefined) trailers.push(requestIdHeader, requestId);
    this.#finish(trailers);
    this.observation.end("OK");
  }

  /** Ends the answer with an error. */
  protected fail(reason: unknown): void {
    const isNamed = this.stream.headersSent && this.requestId !== undefined;
    // A fault of the service gets a request id, for which the trailers are the only place by then.
    endWithFailure(this.observation, this, reason);
    const { requestId, sentTrailer } = this;
    const trailers = errorTrailers(toConnectError(reason), sentTrailer);
    this.#finish(isNamed || requestId === undefined ? trailers : [...trailers, requestIdHeader, requestId]);
  }

  /**
   * Headers and trailers are one block ("Trailers-Only", gRPC over HTTP/2, "Responses") where there is no message, unless the
   * endpoint has set headers of its own.
   *
   * @param trailers names and values in turn.
   */
  #finish(trailers: readonly string[]): void {
    const { stream } = this;
    const header = headerPairs(this.sentHeader);
    if (!stream.headersSent && header.length === 0) {
      stream.respond([...answerHeaders(), ...trailers], trailersOnlyOptions);
      return;
    }
    if (!stream.headersSent) stream.respond([...answerHeaders(), ...header], answerOptions);
    this.trailers = toRecord(trailers);
    stream.end();
  }
}

function toRecord(pairs: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (let at = 0; at < pairs.length; at += 2) record[pairs[at] as string] = pairs[at + 1] as string;
  return record;
}
