import type { IncomingHttpHeaders } from "node:http2";
import type { DescMethodServerStreaming, DescMethodUnary, DescService } from "@bufbuild/protobuf";
import { type ContextValues, createContextValues, type HandlerContext } from "@connectrpc/connect";
import { parseTimeout } from "@connectrpc/connect/protocol-grpc";
import { Call } from "../../status/call.ts";
import { deadlineExceeded } from "../../status/errors.ts";
import { longestDelay } from "../../status/longest-delay.ts";

/** A gRPC call of the fast path, and Connect's HandlerContext of it. What no handler asks for is not made. */
export abstract class GrpcCall extends Call implements HandlerContext {
  readonly method: DescMethodUnary | DescMethodServerStreaming;
  /** What the handler has set of the response, if it has. */
  sentHeader: Headers | undefined;
  sentTrailer: Headers | undefined;
  protected readonly headers: IncomingHttpHeaders;
  #requestHeader: Headers | undefined;
  #values: ContextValues | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(method: DescMethodUnary | DescMethodServerStreaming, headers: IncomingHttpHeaders) {
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
    this.watchDeadline();
    return super.signal;
  }

  /** Has the call cancelled when its deadline passes. */
  protected watchDeadline(): void {
    const left = this.timeoutMs();
    if (left === undefined || this.cancelled) return;
    if (left <= 0) this.cancel(deadlineExceeded());
    else this.#timer ??= setTimeout(passDeadline, Math.min(left, longestDelay), this);
  }

  override cancel(reason: unknown): void {
    clearTimeout(this.#timer);
    super.cancel(reason);
  }
}

function passDeadline(call: GrpcCall): void {
  call.cancel(deadlineExceeded());
}

function toWebHeaders(headers: IncomingHttpHeaders): Headers {
  const web = new Headers();
  for (const [name, value = []] of Object.entries(headers)) {
    if (name.startsWith(":")) continue;
    for (const one of Array.isArray(value) ? value : [value]) web.append(name, one);
  }
  return web;
}
