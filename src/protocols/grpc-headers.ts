import { Code, ConnectError } from "@connectrpc/connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";

/** @returns names and values in turn, as node:http2 writes them fastest. */
export function headerPairs(headers: Headers | undefined): string[] {
  return headers === undefined ? [] : [...headers].flat();
}

/** Calls that are shed share one error: it is written once. */
let lastError: { readonly reason: unknown; readonly headers: readonly string[] } | undefined;

/** @returns an error as gRPC says it (`grpc-status`, `grpc-message`, details), names and values in turn. */
export function errorHeaders(reason: unknown): readonly string[] {
  if (lastError === undefined || lastError.reason !== reason)
    lastError = { reason, headers: headerPairs(toTrailers(reason)) };
  return lastError.headers;
}

/** As Connect says it: an error that is none of its own is internal, and keeps its text for itself. */
function toTrailers(reason: unknown): Headers {
  const error =
    reason instanceof ConnectError
      ? reason
      : new ConnectError("internal error", Code.Internal, undefined, undefined, reason);
  return setTrailerStatus(new Headers(), error);
}
