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
import { Call } from "../../status/call.ts";
import { longestTimeout } from "../timeouts.ts";

/** A gRPC call of the fast path, and Connect's HandlerContext of it. What no handler asks for is not made. */
export abstract class GrpcCall extends Call implements HandlerContext {
  readonly method: DescMethodUnary;
  /** What the handler has set of the response, if it has. */
  sentHeader: Headers | undefined;
  sentTrailer: Headers | undefined;
  protected readonly headers: IncomingHttpHeaders;
  #requestHeader: Headers | undefined;
  #values: ContextValues | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(method: DescMethodUnary, headers: IncomingHttpHeaders) {
    super();
    this.method = method;
    this.headers = headers;
    const timeout = headers["grpc-timeout"] as string | undefined;
    if (timeout !== undefined) {
      this.deadline = this.arrivedAt + (parseTimeout(timeout, Number.POSITIVE_INFINITY).timeoutMs ?? 0);
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
    return this.deadline === Number.POSITIVE_INFINITY ? undefined : this.deadline - performance.now();
  }

  /** Fires when the deadline passes, too. */
  override get signal(): AbortSignal {
    const left = this.timeoutMs();
    if (left !== undefined && left <= 0) this.cancel(timedOut());
    else if (left !== undefined && !this.cancelled) {
      this.#timer ??= setTimeout(() => this.cancel(timedOut()), Math.min(left, longestTimeout));
    }
    return super.signal;
  }

  override cancel(reason: unknown): void {
    clearTimeout(this.#timer);
    super.cancel(reason);
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
