import { Code, ConnectError } from "@connectrpc/connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { preparedErrors, pushbackOf } from "../../endpoints/errors.ts";

/** gRFC A6, "Pushback". */
export const pushbackHeader = "grpc-retry-pushback-ms";

/** @returns names and values in turn, as node:http2 writes them fastest. */
export function headerPairs(headers: Headers | undefined): string[] {
  return headers === undefined ? [] : [...headers].flat();
}

/** @returns an error as gRPC says it (`grpc-status`, `grpc-message`, details), names and values in turn. */
export function errorHeaders(reason: unknown): readonly string[] {
  return prepared.get(reason) ?? headerPairs(toTrailers(reason));
}

/** Calls that are shed share their errors: each is written once. */
const prepared = new Map<unknown, readonly string[]>(
  preparedErrors.map((error) => [error, headerPairs(toTrailers(error))]),
);

/** As Connect says it: an error that is none of its own is internal, and keeps its text for itself. */
export function toTrailers(reason: unknown): Headers {
  const error =
    reason instanceof ConnectError
      ? reason
      : new ConnectError("internal error", Code.Internal, undefined, undefined, reason);
  const trailers = setTrailerStatus(new Headers(), error);
  const pushback = pushbackOf(error);
  if (pushback !== undefined) trailers.set(pushbackHeader, pushback);
  return trailers;
}
