import type { IncomingHttpHeaders } from "node:http2";
import type { Registry } from "@bufbuild/protobuf";
import { codeName } from "../endpoints/codes.ts";
import { type Endpoint, pathOfRpc } from "../endpoints/endpoint.ts";
import type { Life } from "../endpoints/life.ts";
import {
  type Authenticate,
  admitEveryCall,
  type Begun,
  connectionOf,
  identify,
  passedOn,
  requestIdHeader,
} from "../protocols/begin-call.ts";
import { createConnectAdapter } from "../protocols/connect/adapter.ts";
import { type RpcPath, refuseUnknownForm, rpcPathOf } from "../protocols/connect/rpc-path.ts";
import {
  type HttpHandler,
  type HttpRequest,
  type HttpResponse,
  pathOf,
  sendError,
} from "../protocols/http.ts";
import { protocolOf } from "../protocols/protocol-of.ts";
import { createReceiver } from "../protocols/receiving.ts";
import { endWithResponse } from "../protocols/response-end.ts";
import { answerFailure } from "../protocols/rest/failure.ts";
import { createRestRoutes } from "../protocols/rest/rest.ts";
import type { RestRoute } from "../protocols/rest/route.ts";
import { resolveTarget } from "../protocols/target.ts";
import { Call } from "../status/call.ts";
import {
  type Observe,
  type Observer,
  observeNothing,
  type ProtocolName,
  preflightMethod,
  unknownMethod,
} from "../status/observation.ts";
import type { Cors } from "./cors.ts";
import { isTooLarge } from "./header-size.ts";
import { metricsPath, type Probe } from "./probes.ts";
import { headersTooLarge, notFound, type Refusal, sendRefusal } from "./refusals.ts";
import { refuseUnknownCaller } from "./unauthenticated.ts";

export interface RouterOptions {
  readonly endpoints: readonly Endpoint[];
  readonly life: Life;
  /** By their paths. Absent: there are none. */
  readonly probes?: ReadonlyMap<string, Probe>;
  /** The largest message of a request, in bytes. Absent: 64 KiB, where the longest that a caller needs has some hundred. */
  readonly maxMessageSize?: number;
  /** The messages of all requests that are received at the same time, in bytes. Absent: there is no limit. */
  readonly maxReceivingSize?: number;
  /** The longest wait that a call is granted, in milliseconds. Absent: 30 s. */
  readonly maxWait?: number;
  /** The headers of a request, in bytes of their names and values. Absent: there is no limit. */
  readonly maxHeaderSize?: number;
  /** Absent: nothing is observed. */
  readonly observe?: Observe;
  /** Absent: every call is admitted. */
  readonly authenticate?: Authenticate;
  /** Absent: pages on other origins may do nothing. */
  readonly cors?: Cors | undefined;
  /** The types that `google.protobuf.Any` may hold in JSON. Absent: none. */
  readonly registry?: Registry;
}

export interface Router extends HttpHandler {
  /** Observes a call that was cancelled before it got here. */
  cancelled(headers: IncomingHttpHeaders): void;
}

/** Begins a call for every request, and routes it to the protocol that translates it. */
export function createRouter({
  endpoints,
  life,
  probes = new Map(),
  maxMessageSize = 2 ** 16,
  maxReceivingSize = Number.POSITIVE_INFINITY,
  maxWait = 30_000,
  maxHeaderSize = Number.POSITIVE_INFINITY,
  observe = observeNothing,
  authenticate = admitEveryCall,
  cors,
  registry,
}: RouterOptions): Router {
  const methods = new Map(endpoints.map((endpoint) => [pathOfRpc(endpoint), rpcPathOf(endpoint)]));
  const receive = createReceiver(maxReceivingSize);
  const restRoutes = createRestRoutes({ endpoints, life, observe, maxWait, maxMessageSize, receive });
  const connect = createConnectAdapter({ endpoints, life, maxMessageSize, receive, registry });
  // The metrics of every method exist from the start, and not from its first call on.
  for (const protocol of ["connect", "grpc", "grpc-web"] as const) {
    for (const { name } of methods.values()) observe(protocol, name);
  }

  function restRouteAt(path: string): RestRoute | undefined {
    return restRoutes.find((route) => route.matches(path));
  }

  function protocolAt(path: string, method: string | undefined, headers: IncomingHttpHeaders): ProtocolName {
    if (restRouteAt(path) !== undefined || probes.has(path)) return "rest";
    return protocolOf(method, headers, methods.has(path));
  }

  function observerAt(path: string, protocol: ProtocolName): Observer {
    const restRoute = restRouteAt(path);
    if (restRoute !== undefined) return restRoute.observer;
    if (probes.has(path)) return observe(protocol, path);
    return observe(protocol, methods.get(path)?.name ?? unknownMethod);
  }

  function handle(request: HttpRequest, response: HttpResponse) {
    const isWellFormed = resolveTarget(request);
    const path = pathOf(request.url);
    const passed = passedOn(request);
    const call = passed?.call ?? new Call();
    if (passed === undefined) identify(call, request.headers, connectionOf(request));
    if (call.requestId !== undefined) response.setHeader(requestIdHeader, call.requestId);
    if (cors !== undefined && path !== metricsPath && cors.answer(request, response))
      return observe("rest", preflightMethod).start(call).end("OK");
    const isServed = isWellFormed && !isTooLarge(request.rawHeaders, maxHeaderSize);
    const isAdmitted = passed !== undefined || (isServed && authenticate(call, path, request.headers));
    if (isServed && isAdmitted) {
      const restRoute = restRouteAt(path);
      if (restRoute !== undefined) return restRoute.handle(request, response, call);
    }

    const protocol = protocolAt(path, request.method, request.headers);
    // No cache keeps the answer to a POST that does not say for how long (RFC 9110, section 9.3.3): gRPC is spared it.
    if (request.method !== "POST" || protocol !== "grpc") response.setHeader("Cache-Control", "no-store");
    const begun = passed ?? { call, observation: observerAt(path, protocol).start(call) };
    endWithResponse(response, begun.observation);
    if (!isWellFormed) return sendError(request, response, 400);
    if (!isServed) return refuse(request, response, protocol, begun, headersTooLarge);
    const rpc = methods.get(path);
    if (!isAdmitted) return refuseCaller(request, response, protocol, begun, rpc);
    if (rpc !== undefined) {
      if (!refuseUnknownForm(request, response, rpc)) connect(request, { ...begun, response });
      return;
    }
    const probe = probes.get(path);
    if (probe !== undefined) void answerProbe(probe, request, response, begun);
    else refuse(request, response, protocol, begun, notFound);
  }

  return Object.assign(handle, {
    cancelled(headers: IncomingHttpHeaders): void {
      const path = pathOf(headers[":path"]);
      const call = new Call();
      identify(call, headers, undefined);
      observerAt(path, protocolAt(path, headers[":method"], headers))
        .start(call)
        .end("CANCELLED");
    },
  });
}

async function answerProbe(
  probe: Probe,
  request: HttpRequest,
  response: HttpResponse,
  { call, observation }: Begun,
): Promise<void> {
  try {
    await probe(request, response);
  } catch (error) {
    answerFailure(request, response, call, observation, error);
  }
}

function refuseCaller(
  request: HttpRequest,
  response: HttpResponse,
  protocol: ProtocolName,
  begun: Begun,
  rpc: RpcPath | undefined,
): void {
  begun.observation.end("UNAUTHENTICATED");
  const isUnknown = protocol === "connect" && rpc === undefined;
  refuseUnknownCaller(isUnknown ? "rest" : protocol, request, response, begun);
}

function refuse(
  request: HttpRequest,
  response: HttpResponse,
  protocol: ProtocolName,
  { observation }: Begun,
  refusal: Refusal,
): void {
  sendRefusal(request, response, protocol, refusal);
  observation.end(codeName(refusal.code));
}
