import { base64Decode } from "@bufbuild/protobuf/wire";
import {
  Code,
  ConnectError,
  type ContextValues,
  createContextKey,
  createContextValues,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";
import { pushbackHeader, pushbackOf } from "../../endpoints/errors.ts";
import { endWithFailure } from "../../endpoints/failure.ts";
import { type Begun, requestIdHeader } from "../begin-call.ts";
import type { HttpResponse } from "../http.ts";
import { hasGone } from "../response-end.ts";

/** A call that Connect's adapter serves. */
export interface RpcCall extends Begun {
  readonly response: HttpResponse;
  /** What its endpoint threw. */
  failure?: unknown;
  /** Whether a unary method's message has been read, so that its handler runs. */
  isRead?: boolean;
  /** Why a message of a stream could not be read. */
  unreadable?: unknown;
}

/** Connect calls `abort` once a call is over, before it writes what is left of the answer: with the error, if there is one. */
type ControlledContext = HandlerContext & { abort(reason?: unknown): void };

const callKey = createContextKey<RpcCall | undefined>(undefined, { description: "call" });

/** @returns where {@link gate} and the routes find the call. */
export function contextOf(call: RpcCall): ContextValues {
  return createContextValues().set(callKey, call);
}

/** The call of a context that {@link contextOf} made. */
export function rpcCallOf(context: HandlerContext): RpcCall {
  return context.values.get(callKey) as RpcCall;
}

/**
 * Connect's request gate: runs for every call of an RPC before its message is read, over every protocol.
 *
 * @throws ConnectError for a message in the URL that cannot be read.
 */
export function gate(context: HandlerContext): void {
  const call = rpcCallOf(context);
  const { abort } = context as ControlledContext;
  (context as ControlledContext).abort = (reason) => {
    if (isUnreadable(call, context, reason))
      Object.assign(reason as ConnectError, { code: Code.InvalidArgument });
    endCall(call, context, reason);
    abort(reason);
  };
  checkBase64(context);
}

/** Connect's interceptor: notes whether what a call throws comes from reading its messages, or from its handler. */
export const noteReading: Interceptor = (next) => (request) => {
  const call = request.contextValues.get(callKey) as RpcCall;
  if (request.stream) return next({ ...request, message: noteFailure(request.message, call) });
  call.isRead = true;
  return next(request);
};

async function* noteFailure<T>(messages: AsyncIterable<T>, call: RpcCall): AsyncGenerator<T, undefined> {
  try {
    yield* messages;
  } catch (reason) {
    call.unreadable = reason;
    throw reason;
  }
}

/**
 * Whether the caller's message is at fault for what Connect takes for a fault of the service: it is not of its media
 * type, or ends before its compression does. For gRPC, the code for that is INTERNAL (grpc's doc/statuscodes.md: "Error parsing
 * request proto", "Could not decompress"), and for Connect it is not: JSON that cannot be decoded is `invalid_argument`, too.
 */
function isUnreadable(call: RpcCall, { protocolName, method }: HandlerContext, reason: unknown): boolean {
  if (protocolName !== "connect" || !(reason instanceof ConnectError) || reason.code !== Code.Internal)
    return false;
  const isReading = method.methodKind === "unary" ? !call.isRead : reason === call.unreadable;
  if (!isReading) return false;
  const cause = reason.cause as NodeJS.ErrnoException | null | undefined;
  return reason.rawMessage.startsWith("parse binary: ") || cause?.code === "Z_BUF_ERROR";
}

function endCall(rpc: RpcCall, context: HandlerContext, reason: unknown) {
  const { call, observation, response, failure = reason } = rpc;
  if (reason === undefined) return observation.end("OK");
  if (hasGone(response)) return observation.end("CANCELLED");
  const isNamed = call.requestId !== undefined;
  endWithFailure(observation, call, failure);
  const { protocolName, method, responseHeader, responseTrailer } = context;
  const pushback = protocolName === "grpc" && reason instanceof ConnectError ? pushbackOf(reason) : undefined;
  if (pushback !== undefined) responseTrailer.set(pushbackHeader, pushback);
  if (call.requestId === undefined) return;
  if (protocolName === "connect" && method.methodKind === "unary") {
    responseHeader.set(requestIdHeader, call.requestId);
  } else if (!isNamed) {
    responseTrailer.set(requestIdHeader, call.requestId);
  } else if (protocolName === "grpc" && !response.headersSent) {
    // gRPC clients read the metadata of an error from its trailers.
    response.removeHeader(requestIdHeader);
    responseTrailer.set(requestIdHeader, call.requestId);
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
