import type { ServerResponse } from "node:http";
import type { Message } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import {
  type Endpoint,
  isStreaming,
  type StreamingEndpoint,
  type UnaryEndpoint,
} from "../../endpoints/endpoint.ts";
import { toConnectError } from "../../endpoints/errors.ts";
import type { Life } from "../../endpoints/life.ts";
import { callerGone } from "../../status/call.ts";
import { deadlineExceeded } from "../../status/errors.ts";
import { letEndpointTime } from "../held-responses.ts";
import { type RpcCall, rpcCallOf } from "./rpc-call.ts";

/** Connect's routes for the endpoints. Each call is one of {@link RpcCall}, and lives the one life of a call. */
export function routesOf(endpoints: readonly Endpoint[], life: Life): (router: ConnectRouter) => void {
  return (router) => {
    for (const endpoint of endpoints) {
      const implementation = isStreaming(endpoint) ? streaming(endpoint, life) : unary(endpoint, life);
      router.rpc(endpoint.method, implementation as never);
    }
  };
}

function unary(endpoint: UnaryEndpoint, life: Life) {
  return async (request: Message, context: HandlerContext) => {
    const rpc = rpcCallOf(context);
    follow(rpc, context);
    try {
      return await life.unary(endpoint, request, rpc.call, context);
    } catch (reason) {
      throw toWire(rpc, reason);
    }
  };
}

function streaming(endpoint: StreamingEndpoint, life: Life) {
  return async function* (request: Message | AsyncIterable<Message>, context: HandlerContext) {
    const rpc = rpcCallOf(context);
    const { call, observation, response } = rpc;
    const carrier = "stream" in response ? response.stream : response;
    follow(rpc, context);
    letEndpointTime(carrier, call);
    goOnWhenCancelled(rpc);
    if (!("stream" in response)) forgetWriteErrors(response);
    try {
      yield* life.stream(endpoint, request, call, observation, context);
    } catch (reason) {
      throw toWire(rpc, reason);
    } finally {
      // Connect may have to write one more message, the last of gRPC-Web and Connect, before it ends the response.
      letEndpointTime(carrier, undefined);
    }
  };
}

/** Gives the call the deadline and the cancellation of Connect's context. */
function follow({ call, response }: RpcCall, context: HandlerContext): void {
  const { signal } = context;
  const timeout = context.timeoutMs();
  if (timeout !== undefined) call.deadline = performance.now() + timeout;
  const cancel = () => {
    const { reason } = signal;
    const isLate = reason instanceof ConnectError && reason.code === Code.DeadlineExceeded;
    // Others watch the deadline, too. Whichever notices it first, the caller gets the same error.
    call.cancel(isLate ? deadlineExceeded() : callerGone);
  };
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel, { once: true });
  // Of a stream whose client takes nothing, Connect does not notice that it is reset.
  response.once("close", () => call.cancel(callerGone));
}

/**
 * While the client reads nothing, Connect asks for no message, and so would not learn that the call is cancelled: neither would the
 * endpoint's generators end, nor the response.
 */
function goOnWhenCancelled({ call, response }: RpcCall): void {
  if (!call.cancelled) call.attach({ cancel: () => response.emit("drain") });
}

/**
 * Connect prints the error of a write that waits for a client that goes, unless Node calls it ECONNRESET: over HTTP/1.1, it may be
 * ECANCELED and EPIPE, too. The call is cancelled by then.
 */
function forgetWriteErrors(response: ServerResponse): void {
  const { write } = response;
  response.write = (chunk: unknown, encoding: unknown) =>
    write.call(response, chunk, encoding as BufferEncoding);
}

function toWire(rpc: RpcCall, reason: unknown): ConnectError {
  rpc.failure = reason;
  return toConnectError(reason);
}
