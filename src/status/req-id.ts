import { StatusError } from "./errors.ts";

declare const reqId: unique symbol;

/** A request id that has passed {@link parseReqId}: lower-case canonical UUID text. */
export type ReqId = string & { readonly [reqId]: true };

const canonicalUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * Accepts a UUID in canonical text form (RFC 9562, section 4), upper or lower case, of any version.
 *
 * @returns the id in lower case, as PostgreSQL prints it.
 * @throws StatusError `INVALID_REQ_ID`, naming what was given and what is right.
 */
export function parseReqId(text: string): ReqId {
  if (canonicalUuid.test(text)) return text.toLowerCase() as ReqId;
  const wanted = "(want a UUID of 8-4-4-4-12 hexadecimal digits)";
  if (text === "") throw new StatusError("INVALID_REQ_ID", `req_id is missing ${wanted}`);
  throw new StatusError("INVALID_REQ_ID", `req_id ${quote(text)} is malformed ${wanted}`);
}

const longestQuote = 64;

/** @returns a caller's text as an error message may show it: in quotes, escaped, and of a bounded length. */
export function quote(text: string): string {
  return JSON.stringify(text.length > longestQuote ? `${text.slice(0, longestQuote)}…` : text);
}
