import { StatusError } from "./errors.ts";

declare const reqId: unique symbol;

/** A request id that has passed {@link parseReqId}: lower-case canonical UUID text. */
export type ReqId = string & { readonly [reqId]: true };

const length = 36;
const hyphen = 45;

/** By code: 1 for a hexadecimal digit, 2 for one of upper case. */
const digits = new Uint8Array(128);
for (const digit of "0123456789abcdef") digits[digit.charCodeAt(0)] = 1;
for (const digit of "ABCDEF") digits[digit.charCodeAt(0)] = 2;

/**
 * Accepts a UUID in canonical text form (RFC 9562, section 4), upper or lower case, of any version.
 *
 * @returns the id in lower case, as PostgreSQL prints it.
 * @throws StatusError `INVALID_REQ_ID`, naming what was given and what is right.
 */
export function parseReqId(text: string): ReqId {
  const letterCase = caseOfUuid(text);
  if (letterCase === "lower") return text as ReqId;
  if (letterCase === "upper") return text.toLowerCase() as ReqId;
  const wanted = "(want a UUID of 8-4-4-4-12 hexadecimal digits)";
  if (text === "") throw new StatusError("INVALID_REQ_ID", `req_id is missing ${wanted}`);
  throw new StatusError("INVALID_REQ_ID", `req_id ${quote(text)} is malformed ${wanted}`);
}

/**
 * A regular expression takes twice as long, which is 1 % of a call.
 *
 * @returns whether a UUID has digits of upper case; undefined for what is none.
 */
function caseOfUuid(text: string): "lower" | "upper" | undefined {
  if (text.length !== length) return undefined;
  let highest = 0;
  for (let at = 0; at < length; at++) {
    const code = text.charCodeAt(at);
    if (at === 8 || at === 13 || at === 18 || at === 23) {
      if (code !== hyphen) return undefined;
    } else {
      const digit = digits[code] ?? 0;
      if (digit === 0) return undefined;
      if (digit > highest) highest = digit;
    }
  }
  return highest === 2 ? "upper" : "lower";
}

const longestQuote = 64;

/** @returns a caller's text as an error message may show it: in quotes, escaped, and of a bounded length. */
export function quote(text: string): string {
  return JSON.stringify(text.length > longestQuote ? `${text.slice(0, longestQuote)}…` : text);
}
