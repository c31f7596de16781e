import type { IncomingHttpHeaders } from "node:http2";
import type { ConnectRouter } from "@connectrpc/connect";
import { getStatusMethod } from "../endpoints/get-status.ts";
import {
  type CallObservation,
  type CallObserver,
  codeName,
  type Observe,
  type ProtocolName,
  preflight,
  unknownMethod,
  unobserved,
} from "../endpoints/observer.ts";
import { addressOf, CallInfo, requestIdHeader } from "../protocols/call-info.ts";
import { createConnectAdapter } from "../protocols/connect/adapter.ts";
import { type RpcPath, refuseUnknownForm, rpcPathOf } from "../protocols/connect/rpc-path.ts";
import type { GrpcUnaryLane } from "../protocols/grpc/unary-fast-path.ts";
import {
  errorBody,
  type HttpHandler,
  type HttpRequest,
  type HttpResponse,
  pathOf,
  sendJson,
} from "../protocols/http.ts";
import { protocolOf } from "../protocols/protocol-of.ts";
import { headersTooLarge, notFound, type Refusal, sendRefusal } from "../protocols/refusals.ts";
import { endWithResponse } from "../protocols/response-end.ts";
import { type Rest, sendFailure } from "../protocols/rest/rest.ts";
import { resolveTarget } from "../protocols/target.ts";
import { refuseUnknownCaller } from "../protocols/unknown-caller.ts";
import { type Authenticate, anyCaller } from "./authentication.ts";
import type { Cors } from "./cors.ts";
import { isTooLarge } from "./header-size.ts";
import { metricsPath, type Probe } from "./probes.ts";

export interface Routes {
  readonly rest: Rest;
  /** By their paths. */
  readonly probes: ReadonlyMap<string, Probe>;
  /** What Connect's adapter serves: gRPC, gRPC-Web and Connect. */
  readonly rpcs: readonly ((router: ConnectRouter) => void)[];
  /** Learns of the same RPCs, to answer the usual calls by itself. */
  readonly lane: GrpcUnaryLane | undefined;
  /** Of a request's message at most, in bytes. Absent: 64 KiB, where the longest that a caller needs has some hundred. */
  readonly maxMessageSize?: number;
  /** Of the messages of all requests that are under way at most, in bytes. Absent: there is no bound. */
  readonly maxReceivingSize?: number;
  /** Of a request's headers at most, in bytes of their names and values. Absent: there is no bound. */
  readonly maxHeaderSize?: number;
  /** Absent: nothing is observed. */
  readonly observe?: Observe;
  /** Absent: every caller may ask. */
  readonly authenticate?: Authenticate;
  /** Absent: pages on other origins may do nothing. */
  readonly cors?: Cors | undefined;
}

export interface Router extends HttpHandler {
  /** Observes a call that was cancelled before it got here. */
  cancelled(headers: IncomingHttpHeaders): void;
}

/** Sends every request to whom it is for, and observes it. */
export function createRouter({
  rest,
  probes,
  rpcs,
  lane,
  maxMessageSize = 2 ** 16,
  maxReceivingSize = Number.POSITIVE_INFINITY,
  maxHeaderSize = Number.POSITIVE_INFINITY,
  observe = unobserved,
  authenticate = anyCaller,
  cors,
}: Routes): Router {
  const methods = new Map<string, RpcPath>();
  const connect = createConnectAdapter({
    routes: (router) => {
      for (const routes of rpcs) routes(lane?.collect(router) ?? router);
      for (const handler of router.handlers) methods.set(handler.requestPath, rpcPathOf(handler));
    },
    maxMessageSize,
    maxReceivingSize,
  });
  // What there is to observe is known from the start, and not from the first call on.
  for (const protocol of ["connect", "grpc", "grpc-web"] as const) {
    for (const { name } of methods.values()) observe(protocol, name);
  }

  function protocolAt(path: string, method: string | undefined, headers: IncomingHttpHeaders): ProtocolName {
    if (rest.matches(path) || probes.has(path)) return "rest";
    return protocolOf(method, headers, methods.has(path));
  }

  function observerAt(path: string, protocol: ProtocolName): CallObserver {
    if (rest.matches(path)) return observe(protocol, getStatusMethod);
    if (probes.has(path)) return observe(protocol, path);
    return observe(protocol, methods.get(path)?.name ?? unknownMethod);
  }

  function handle(request: HttpRequest, response: HttpResponse) {
    const isWellFormed = resolveTarget(request);
    const path = pathOf(request.url);
    const info = new CallInfo(request.headers[requestIdHeader] as string | undefined, addressOf(request));
    if (info.requestId !== undefined) response.setHeader(requestIdHeader, info.requestId);
    if (cors !== undefined && path !== metricsPath && cors.answer(request, response))
      return observe("rest", preflight).start(info).end("OK");
    const isServed = isWellFormed && !isTooLarge(request.rawHeaders, maxHeaderSize);
    if (isServed) {
      authenticate(info, path, request);
      if (info.isAdmitted && rest.matches(path)) return rest.handle(request, response, info);
    }

    const protocol = protocolAt(path, request.method, request.headers);
    // No cache keeps the answer to a POST that does not say for how long (RFC 9110, section 9.3.3): gRPC is spared it.
    if (request.method !== "POST" || protocol !== "grpc") response.setHeader("Cache-Control", "no-store");
    const observation = observerAt(path, protocol).start(info);
    endWithResponse(response, observation);
    if (!isWellFormed) return void sendJson(request, response, 400, errorBody(400, "Bad Request"));
    if (!isServed) return refuse(request, response, protocol, observation, headersTooLarge);
    const rpc = methods.get(path);
    if (!info.isAdmitted) {
      observation.end("UNAUTHENTICATED");
      const isUnknown = protocol === "connect" && rpc === undefined;
      return refuseUnknownCaller(isUnknown ? "rest" : protocol, request, response, info);
    }
    if (rpc !== undefined) {
      if (refuseUnknownForm(request, response, rpc)) return;
      return connect(request, { info, observation, response });
    }
    const probe = probes.get(path);
    if (probe !== undefined) return void answer(probe, request, response, info, observation);
    refuse(request, response, protocol, observation, notFound);
  }

  return Object.assign(handle, {
    cancelled(headers: IncomingHttpHeaders): void {
      const path = pathOf(headers[":path"]);
      observerAt(path, protocolAt(path, headers[":method"], headers))
        .start(new CallInfo(headers[requestIdHeader] as string | undefined, undefined))
        .end("CANCELLED");
    },
  });
}

async function answer(
  probe: Probe,
  request: HttpRequest,
  response: HttpResponse,
  info: CallInfo,
  observation: CallObservation,
): Promise<void> {
  try {
    await probe(request, response);
  } catch (error) {
    const code = sendFailure(request, response, info, error);
    observation.end(codeName(code), error);
  }
}

function refuse(
  request: HttpRequest,
  response: HttpResponse,
  protocol: ProtocolName,
  observation: CallObservation,
  refusal: Refusal,
): void {
  sendRefusal(request, response, protocol, refusal);
  observation.end(codeName(refusal.code));
}
