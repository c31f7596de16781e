import type { ServerResponse } from "node:http";
import type { ServerHttp2Stream } from "node:http2";
import type { Call } from "../status/call.ts";

const timed = Symbol("timed");

/** What carries a response: a stream of HTTP/2, or a response of HTTP/1.1. */
type Carrier = (ServerHttp2Stream | ServerResponse) & { [timed]?: Call | undefined };

/**
 * Has the server leave it to the endpoint of a call how long its client may not read: a watch ends with `SLOW_CONSUMER` then.
 * PEER_TIMEOUT applies again from the end of the response on, or of the call.
 *
 * @param call undefined: the call has ended before its response.
 */
export function letEndpointTime(carrier: Carrier, call: Call | undefined): void {
  carrier[timed] = call;
  if (call !== undefined) call.carrier = carrier;
}

/** Whether the endpoint of its call limits how long the client may not read what was written. */
export function isTimedByEndpoint(carrier: Carrier): boolean {
  const call = carrier[timed];
  if (call === undefined || call.cancelled || carrier.writableEnded) return false;
  return call.heldAs === "watch" || call.heldAs === "events";
}
