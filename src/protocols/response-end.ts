import type { Observation } from "../status/observation.ts";
import type { HttpResponse } from "./http.ts";

/** The name of the gRPC status code for an HTTP status, where no protocol of RPCs has a code of its own. */
const codesOfHttp: Readonly<Record<number, string>> = {
  200: "OK",
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  404: "UNIMPLEMENTED",
  405: "UNIMPLEMENTED",
  415: "INVALID_ARGUMENT",
  431: "RESOURCE_EXHAUSTED",
  500: "INTERNAL",
  503: "UNAVAILABLE",
  505: "UNIMPLEMENTED",
};

/** Ends the observation with the response, unless it ends before: by the status, or as cancelled when there is none. */
export function endWithResponse(response: HttpResponse, observation: Observation): void {
  // Over HTTP/2, the response itself finishes with the stream, and the stream finishes when it is reset, too.
  const sent = "stream" in response ? response.stream : response;
  const end = () => {
    observation.end(response.writableEnded ? (codesOfHttp[response.statusCode] ?? "UNKNOWN") : "CANCELLED");
  };
  sent.once("finish", end);
  // In front of the listeners of Connect's adapter, which takes a connection that closes for an error.
  sent.prependOnceListener("close", end);
}

/** Whether the caller has gone, so that no answer can reach it. */
export function hasGone(response: HttpResponse): boolean {
  if ("stream" in response) return response.stream.destroyed || response.stream.closed;
  return response.destroyed || response.socket?.destroyed === true;
}
