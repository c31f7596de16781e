import { StatusError } from "./errors.ts";

declare const reqId: unique symbol;

/** A request id that has passed {@link parseReqId}: lower-case canonical UUID text. */
export type ReqId = string & { readonly [reqId]: true };

const canonicalUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * Accepts a UUID in canonical text form (RFC 9562, section 4), upper or lower case, of any version.
 *
 * @param field the field of the request that it stands in.
 * @returns the id in lower case, as PostgreSQL prints it.
 * @throws StatusError `INVALID_REQ_ID`, naming what was given and what is right.
 */
export function parseReqId(text: string, field = "req_id"): ReqId {
  if (canonicalUuid.test(text)) return text.toLowerCase() as ReqId;
  const wrong = text === "" ? "is missing" : `${quote(text)} is malformed`;
  const message = `${field} ${wrong} (want a UUID of 8-4-4-4-12 hexadecimal digits)`;
  throw new StatusError("INVALID_REQ_ID", message, { field });
}

/** The most ids that one call may ask for. */
const maxReqIds = 1_000;

/**
 * Reads the ids of a call that asks for several.
 *
 * @returns them in lower case and in their order, also those that are given twice.
 * @throws StatusError `NO_IDS`, `TOO_MANY_IDS`, `INVALID_REQ_ID`.
 */
export function parseReqIds(texts: readonly string[]): ReqId[] {
  const field = "req_ids";
  const wanted = `(want 1 to ${maxReqIds} ids)`;
  if (texts.length === 0) throw new StatusError("NO_IDS", `req_ids is empty ${wanted}`, { field });
  if (texts.length > maxReqIds) {
    throw new StatusError("TOO_MANY_IDS", `req_ids has ${texts.length} ids ${wanted}`, { field });
  }
  return texts.map((text, index) => parseReqId(text, `${field}[${index}]`));
}

const longestQuote = 64;

/** @returns a caller's text as an error message may show it: in quotes, escaped, and of a bounded length. */
export function quote(text: string): string {
  return JSON.stringify(text.length > longestQuote ? `${text.slice(0, longestQuote)}…` : text);
}
