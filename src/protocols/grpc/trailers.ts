import type { ConnectError } from "@connectrpc/connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { preparedErrors, pushbackHeader, pushbackOf } from "../../endpoints/errors.ts";

/** @returns names and values in turn, as node:http2 writes them fastest. */
export function headerPairs(headers: Headers | undefined): string[] {
  return headers === undefined ? [] : [...headers].flat();
}

/** @returns an error as gRPC writes it (`grpc-status`, `grpc-message`, details), names and values in turn. */
export function errorHeaders(error: ConnectError): readonly string[] {
  return prepared.get(error) ?? headerPairs(toTrailers(error));
}

/** Calls that are shed share their errors: each is written once. */
const prepared = new Map<ConnectError, readonly string[]>(
  preparedErrors.map((error) => [error, headerPairs(toTrailers(error))]),
);

/** As Connect's adapter writes an error. */
export function toTrailers(error: ConnectError): Headers {
  const trailers = setTrailerStatus(new Headers(), error);
  const pushback = pushbackOf(error);
  if (pushback !== undefined) trailers.set(pushbackHeader, pushback);
  return trailers;
}
