/** What callers ask about, what they are told, and every way that telling can fail. */

declare const reqId: unique symbol;

/** A request id that has passed {@link parseReqId}: lower-case canonical UUID text. */
export type ReqId = string & { readonly [reqId]: true };

/**
 * How long a status exists after its creation, in milliseconds, by the database's clock. A rule of the contract; the
 * statements and the table's guard say it as `interval '24 hours'`.
 */
export const statusLifetime = 24 * 3_600_000;

/** The characters (Unicode code points) that an error text has at most: the contract's, and the table's trigger's. */
export const longestError = 16_384;

/** How far a request has come: the four words of the contract, of the table and of the wire. */
export type JobState = "pending" | "processing" | "success" | "failure";

/** The status of one request, as the database had it when it was read. */
export interface JobStatus {
  readonly status: JobState;
  /** When the request was submitted, by the database's clock, in whole seconds. */
  readonly createdAt: Date;
  /** Why the request failed. Present if and only if `status` is `failure`. */
  readonly error?: string;
}

export type StatusErrorReason =
  | "INVALID_REQ_ID"
  | "STATUS_NOT_FOUND"
  | "DATASTORE_UNAVAILABLE"
  | "DEADLINE_EXCEEDED"
  | "OVERLOADED"
  | "STATUS_UNREADABLE"
  | "UNAUTHENTICATED"
  | "GOING_AWAY";

/** Every way a status lookup can fail that a caller may act on. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly reason: StatusErrorReason;
  /** The setting that bounds what there was too much of. Present if and only if the reason is `OVERLOADED`. */
  readonly limit?: Limit;

  /**
   * @param message is sent to the caller: it names no host, no SQL and no secret. Those go into `cause`. It does
   *   without `: , ; / ? & = + $ # @`, which some gRPC clients show percent-encoded.
   */
  constructor(
    reason: StatusErrorReason,
    message: string,
    options?: ErrorOptions & { readonly limit?: Limit },
  ) {
    super(message, options);
    this.reason = reason;
    if (options?.limit !== undefined) this.limit = options.limit;
  }
}

/** The one way to say that the answer came too late, whoever notices it. */
export function deadlineExceeded(): StatusError {
  return new StatusError("DEADLINE_EXCEEDED", "the status could not be read in time");
}

/** The status is there, and trying again is of no use. @param cause for the log: what is wrong with its row. */
export function unreadableStatus(cause: unknown): StatusError {
  return new StatusError("STATUS_UNREADABLE", "the status cannot be read (trying again is of no use)", {
    cause,
  });
}

/** The settings that bound what is under way at the same time. What is beyond them is shed. */
export const limits = [
  "MAX_IN_FLIGHT",
  "MAX_WHEN_BUSY",
  "MAX_QUEUED",
  "MAX_WAITING",
  "MAX_RECEIVING_SIZE",
] as const;
export type Limit = (typeof limits)[number];

const overloads = new Map(
  limits.map((limit) => [
    limit,
    new StatusError("OVERLOADED", "too many calls at the same time (try again)", { limit }),
  ]),
);

/** What a call is told that a limit sheds. Made once for each: to shed must cost next to nothing. */
export function overloaded(limit: Limit): StatusError {
  return overloads.get(limit) as StatusError;
}

/** What a call is told that is held on a connection which has become too old. */
export const goingAway = new StatusError(
  "GOING_AWAY",
  "the connection is old enough and is closed (ask again on another)",
);

/** What a call is told that nobody vouches for. */
export const unauthenticated = new StatusError(
  "UNAUTHENTICATED",
  "the call needs a bearer token that is known here",
);

const canonicalUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const longestQuote = 64;

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
  const quote = JSON.stringify(text.length > longestQuote ? `${text.slice(0, longestQuote)}…` : text);
  throw new StatusError("INVALID_REQ_ID", `req_id ${quote} is malformed ${wanted}`);
}
