import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { Http2Session, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { Call } from "../status/call.ts";
import type { Observation } from "../status/observation.ts";
import type { HttpRequest } from "./http.ts";

/** The header in which a caller may name a request, and in which the answer repeats that name. */
export const requestIdHeader = "x-request-id";

/** Visible ASCII characters (RFC 5234, VCHAR). */
const usableRequestId = /^[\x21-\x7e]{1,128}$/;

/**
 * Notes what headers and connection tell of a call. A request id that cannot be used is replaced by a new one.
 *
 * @param connection undefined when it is gone.
 */
export function identify(
  call: Call,
  headers: IncomingHttpHeaders,
  connection: Http2Session | Socket | undefined,
): void {
  const given = headers[requestIdHeader] as string | undefined;
  if (given !== undefined) call.requestId = usableRequestId.test(given) ? given : randomUUID();
  call.peer = peerOf(connection);
  call.connection = connection;
}

/**
 * Notes whose token the headers bear.
 *
 * @param path the one that requests are routed by.
 * @returns whether the call is admitted on this path.
 */
export type Authenticate = (call: Call, path: string, headers: IncomingHttpHeaders) => boolean;

/** Without tokens, every call is admitted, and no caller has a name. */
export const admitEveryCall: Authenticate = () => true;

const peer = Symbol("peer");

type WithPeer = (Http2Session | Socket) & { [peer]?: string | undefined };

/** @returns the connection that a request came on. Undefined when it is gone. */
export function connectionOf(request: HttpRequest): Http2Session | Socket | undefined {
  return "stream" in request ? request.stream.session : request.socket;
}

/** @returns the address of the other side. Kept with the connection: to ask node:http2 for it costs each call a proxy. */
function peerOf(connection: WithPeer | undefined): string | undefined {
  if (connection === undefined) return undefined;
  connection[peer] ??= readPeer(connection);
  return connection[peer];
}

function readPeer(connection: Http2Session | Socket): string | undefined {
  const { remoteAddress } = "socket" in connection ? (connection.socket ?? {}) : connection;
  // An IPv4 address as a socket of both families has it.
  return remoteAddress?.replace(/^::ffff:(?=\d+\.)/, "");
}

/** A call that has begun, and its observation. */
export interface Begun {
  readonly call: Call;
  readonly observation: Observation;
}

const begun = Symbol("begun");

type WithBegun = ServerHttp2Stream & { [begun]?: Begun };

/** Passes a call on together with its stream: it begins once, whatever answers it. */
export function passOn(stream: WithBegun, call: Begun): void {
  stream[begun] = call;
}

/** @returns the call that was passed on with the request's stream. */
export function passedOn(request: HttpRequest): Begun | undefined {
  return "stream" in request ? (request.stream as WithBegun)[begun] : undefined;
}
