import { base64Decode } from "@bufbuild/protobuf/wire";
import {
  Code,
  ConnectError,
  type ContextValues,
  createContextKey,
  createContextValues,
  type HandlerContext,
} from "@connectrpc/connect";
import { unauthenticated } from "../status/status.ts";
import { type CallInfo, requestIdHeader } from "./call-info.ts";
import { toConnectError } from "./errors.ts";
import type { HttpResponse } from "./http.ts";
import { type CallObservation, endWithError } from "./observer.ts";
import { hasGone } from "./response-end.ts";

/** A call that Connect's adapter serves. */
export interface RpcCall {
  readonly info: CallInfo;
  readonly observation: CallObservation;
  readonly response: HttpResponse;
}

/** Connect calls `abort` once a call is over, before it writes what is left of the answer: with the error, if there is one. */
type ControlledContext = HandlerContext & { abort(reason?: unknown): void };

const callKey = createContextKey<RpcCall | undefined>(undefined, { description: "call" });

/** @returns where {@link gate} and the handlers find the call. */
export function contextOf(call: RpcCall): ContextValues {
  return createContextValues().set(callKey, call);
}

export function rpcCallOf(context: HandlerContext): RpcCall | undefined {
  return context.values.get(callKey);
}

/** What is known of a call, for handlers to add to it. */
export function callInfoOf(context: HandlerContext): CallInfo | undefined {
  return rpcCallOf(context)?.info;
}

/**
 * Connect's request gate: runs for every call of an RPC before its message is read, over every protocol.
 *
 * @throws ConnectError when the caller may not ask.
 */
export function gate(context: HandlerContext): void {
  const call = rpcCallOf(context);
  if (call === undefined) return;
  const { abort } = context as ControlledContext;
  (context as ControlledContext).abort = (reason) => {
    endCall(call, context, reason);
    abort(reason);
  };
  if (!call.info.isAdmitted) throw toConnectError(unauthenticated);
  checkBase64(context);
}

function endCall({ info, observation, response }: RpcCall, context: HandlerContext, reason: unknown) {
  if (reason === undefined) return observation.end("OK");
  if (hasGone(response)) return observation.end("CANCELLED");
  const isNamed = info.requestId !== undefined;
  endWithError(observation, info, reason);
  if (info.requestId === undefined) return;
  const { protocolName, method, responseHeader, responseTrailer } = context;
  if (protocolName === "connect" && method.methodKind === "unary") {
    responseHeader.set(requestIdHeader, info.requestId);
  } else if (!isNamed) {
    responseTrailer.set(requestIdHeader, info.requestId);
  } else if (protocolName === "grpc" && !response.headersSent) {
    // gRPC's clients look into the trailers for what comes with an error.
    response.removeHeader(requestIdHeader);
    responseTrailer.set(requestIdHeader, info.requestId);
  }
}

/** Connect would take a message in its URL that is no base64 for a fault of the service. */
function checkBase64({ requestMethod, url }: HandlerContext): void {
  if (requestMethod !== "GET") return;
  const query = new URL(url).searchParams;
  if (query.get("base64") !== "1") return;
  try {
    base64Decode(query.get("message") ?? "");
  } catch {
    throw new ConnectError("the message is not base64", Code.InvalidArgument);
  }
}
