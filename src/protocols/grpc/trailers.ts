import type { ConnectError } from "@connectrpc/connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { preparedErrors, pushbackHeader, pushbackOf } from "../../endpoints/errors.ts";

/** @returns names and values in turn, as node:http2 writes them fastest. */
export function headerPairs(headers: Headers | undefined): string[] {
  return headers === undefined ? [] : [...headers].flat();
}

/**
 * @param trailer what the endpoint has set of it.
 * @returns the trailers of a call that failed (`grpc-status`, `grpc-message`, details), names and values in turn.
 */
export function errorTrailers(error: ConnectError, trailer: Headers | undefined): readonly string[] {
  const ready = trailer === undefined ? prepared.get(error) : undefined;
  return ready ?? headerPairs(toTrailers(error, trailer));
}

/** Calls that are shed share their errors: each is written once. */
const prepared = new Map<ConnectError, readonly string[]>(
  preparedErrors.map((error) => [error, headerPairs(toTrailers(error))]),
);

/** As Connect's adapter writes an error. */
export function toTrailers(error: ConnectError, trailer?: Headers): Headers {
  const trailers = setTrailerStatus(new Headers(trailer), error);
  const pushback = pushbackOf(error);
  if (pushback !== undefined) trailers.set(pushbackHeader, pushback);
  return trailers;
}
