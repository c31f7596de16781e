import { randomUUID } from "node:crypto";
import type { Http2Session } from "node:http2";
import { parseReqId } from "../status/req-id.ts";
import type { HttpRequest } from "./http.ts";

/** The header in which a caller may name a request, and in which the answer repeats that name. */
export const requestIdHeader = "x-request-id";

/** Visible ASCII characters (RFC 5234, VCHAR). */
const usableRequestId = /^[\x21-\x7e]{1,128}$/;

/** The caller, its address, and the job that it asks for: what the log tells of a call. */
export class CallInfo {
  /** The caller's name for this request, or a new one in place of one that cannot be used. Undefined: it has none. */
  requestId: string | undefined;
  /** The name of the token that the caller bears. */
  caller: string | undefined;
  /** The id of the job as the caller wrote it. */
  asked: string | undefined;
  /** Whether the caller may ask. */
  isAdmitted = true;
  readonly #address: string | undefined;

  /**
   * @param given the header in which the caller names the request.
   * @param address the caller's, as the socket has it.
   */
  constructor(given: string | undefined, address: string | undefined) {
    if (given !== undefined) this.requestId = usableRequestId.test(given) ? given : randomUUID();
    this.#address = address;
  }

  /** The job that was asked for. Undefined when what was asked for is no id. */
  get reqId(): string | undefined {
    if (this.asked === undefined) return undefined;
    try {
      return parseReqId(this.asked);
    } catch {
      return undefined;
    }
  }

  /** The address that the connection comes from: the caller's, or the last proxy's. */
  get peer(): string | undefined {
    return this.#address?.replace(/^::ffff:(?=\d+\.)/, "");
  }
}

export function addressOf(request: HttpRequest): string | undefined {
  return "stream" in request ? addressOfSession(request.stream.session) : request.socket.remoteAddress;
}

const address = Symbol("address");

type WithAddress = Http2Session & { [address]?: string | undefined };

/** Kept with the session: to ask node:http2 for it costs each call a proxy. */
export function addressOfSession(session: WithAddress | undefined): string | undefined {
  if (session === undefined) return undefined;
  session[address] ??= session.socket?.remoteAddress;
  return session[address];
}
