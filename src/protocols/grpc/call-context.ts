import type { IncomingHttpHeaders } from "node:http2";
import type { DescMethodUnary, DescService } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ContextValues,
  createContextValues,
  type HandlerContext,
} from "@connectrpc/connect";
import { parseTimeout } from "@connectrpc/connect/protocol-grpc";
import type { Call } from "../../status/call.ts";
import type { CallInfo } from "../call-info.ts";
import { longestTimeout } from "../connect/timeouts.ts";

/** Why a call is cancelled whose caller has gone. Made once, with its stack trace: a peer may cancel many calls. */
export const gone = new ConnectError("the caller has gone", Code.Canceled);

/** Connect's HandlerContext for one gRPC call. What an implementation does not ask for is not made. */
export abstract class UnaryContext implements HandlerContext {
  readonly method: DescMethodUnary;
  readonly info: CallInfo;
  /** What the implementation has set of the response, if it has. */
  sentHeader: Headers | undefined;
  sentTrailer: Headers | undefined;
  protected readonly headers: IncomingHttpHeaders;
  /** In milliseconds of performance.now(). */
  readonly #deadline: number | undefined;
  /** Where an implementation puts what is to be cancelled when the caller goes: cheaper than a signal. */
  call: Call | undefined;
  #requestHeader: Headers | undefined;
  #values: ContextValues | undefined;
  #abort: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reason: ConnectError | undefined;

  constructor(method: DescMethodUnary, headers: IncomingHttpHeaders, info: CallInfo) {
    this.method = method;
    this.info = info;
    this.headers = headers;
    const timeout = headers["grpc-timeout"] as string | undefined;
    if (timeout !== undefined) {
      this.#deadline = performance.now() + (parseTimeout(timeout, Number.POSITIVE_INFINITY).timeoutMs ?? 0);
    }
  }

  get protocolName(): string {
    return "grpc";
  }

  get requestMethod(): string {
    return "POST";
  }

  get service(): DescService {
    return this.method.parent;
  }

  get url(): string {
    const { ":scheme": scheme, ":authority": authority, ":path": path } = this.headers;
    return `${scheme}://${authority}${path}`;
  }

  get requestHeader(): Headers {
    this.#requestHeader ??= toWebHeaders(this.headers);
    return this.#requestHeader;
  }

  get responseHeader(): Headers {
    this.sentHeader ??= new Headers();
    return this.sentHeader;
  }

  get responseTrailer(): Headers {
    this.sentTrailer ??= new Headers();
    return this.sentTrailer;
  }

  get values(): ContextValues {
    this.#values ??= createContextValues();
    return this.#values;
  }

  timeoutMs(): number | undefined {
    return this.#deadline === undefined ? undefined : this.#deadline - performance.now();
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      const left = this.timeoutMs();
      if (this.#reason !== undefined) this.#abort.abort(this.#reason);
      else if (left !== undefined && left <= 0) this.abort(timedOut());
      else if (left !== undefined) {
        this.#timer = setTimeout(() => this.abort(timedOut()), Math.min(left, longestTimeout));
      }
    }
    return this.#abort.signal;
  }

  /** @param reason absent when the call ended well: that, too, fires the signal. */
  abort(reason?: ConnectError): void {
    this.#reason = reason;
    clearTimeout(this.#timer);
    this.#abort?.abort(reason);
    this.call?.cancel(reason);
  }
}

function timedOut(): ConnectError {
  return new ConnectError("the operation timed out", Code.DeadlineExceeded);
}

function toWebHeaders(headers: IncomingHttpHeaders): Headers {
  const web = new Headers();
  for (const [name, value = []] of Object.entries(headers)) {
    if (name.startsWith(":")) continue;
    for (const one of Array.isArray(value) ? value : [value]) web.append(name, one);
  }
  return web;
}
