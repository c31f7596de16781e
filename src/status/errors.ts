/** Every way a call can fail that a caller may act on, and the errors that are made once for all calls. */

export type StatusErrorReason =
  | "INVALID_REQ_ID"
  | "INVALID_WAIT"
  | "NO_IDS"
  | "TOO_MANY_IDS"
  | "STATUS_NOT_FOUND"
  | "DATASTORE_UNAVAILABLE"
  | "DEADLINE_EXCEEDED"
  | "OVERLOADED"
  | "STATUS_UNREADABLE"
  | "UNAUTHENTICATED"
  | "GOING_AWAY"
  | "SLOW_CONSUMER";

/** The settings that limit held calls. */
export const holdLimits = [
  "MAX_WAITING",
  "MAX_WATCHED",
  "MAX_WATCHED_PAIRS",
  "MAX_CONCURRENT_STREAMS",
] as const;
export type HoldLimit = (typeof holdLimits)[number];

/** The settings that limit concurrent work. Calls beyond them are shed. */
export const limits = [
  "MAX_IN_FLIGHT",
  "MAX_WHEN_BUSY",
  "MAX_QUEUED",
  "MAX_RECEIVING_SIZE",
  ...holdLimits,
] as const;
export type Limit = (typeof limits)[number];

/** A failure from the closed list of the contract. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly reason: StatusErrorReason;
  /** The setting that shed the call. Present if and only if the reason is `OVERLOADED`. */
  readonly limit?: Limit;
  /** The field of the request that is at fault, with its index where it is a list. Present for what is wrong with a request. */
  readonly field?: string;

  /**
   * @param message is sent to the caller: it names no host, no SQL and no secret. Those go into `cause`. It does
   *   without `: , ; / ? & = + $ # @`, which some gRPC clients show percent-encoded.
   */
  constructor(
    reason: StatusErrorReason,
    message: string,
    options?: ErrorOptions & { readonly limit?: Limit; readonly field?: string },
  ) {
    super(message, options);
    this.reason = reason;
    if (options?.limit !== undefined) this.limit = options.limit;
    if (options?.field !== undefined) this.field = options.field;
  }
}

/** A wait is no length of time. */
export function invalidWait(): StatusError {
  const message = "wait is not a length of time (want 0s or more such as 30s)";
  return new StatusError("INVALID_WAIT", message, { field: "wait" });
}

/** The datastore could not be asked, or did not answer. @param cause for the log. */
export function datastoreUnavailable(cause: unknown): StatusError {
  return new StatusError("DATASTORE_UNAVAILABLE", "the status could not be read (try again)", { cause });
}

/** The call's deadline passed, whichever component notices it. */
export function deadlineExceeded(): StatusError {
  return new StatusError("DEADLINE_EXCEEDED", "the status could not be read in time");
}

/** The status exists, and trying again is of no use. @param cause for the log: what is wrong with its row. */
export function unreadableStatus(cause: unknown): StatusError {
  return new StatusError("STATUS_UNREADABLE", "the status cannot be read (trying again is of no use)", {
    cause,
  });
}

const overloads = new Map(
  limits.map((limit) => [
    limit,
    new StatusError("OVERLOADED", "too many calls at the same time (try again)", { limit }),
  ]),
);

/** The error of a call that a limit sheds. Made once for each limit: shedding must cost next to nothing. */
export function overloaded(limit: Limit): StatusError {
  return overloads.get(limit) as StatusError;
}

/**
 * The error of a call that is held when the service shuts down, on a connection older than MAX_CONNECTION_AGE and its grace, or
 * longer than a stream may last.
 */
export const goingAway = new StatusError(
  "GOING_AWAY",
  "the stream or its connection is old enough or the service shuts down (ask again)",
);

/** The error of a stream whose client does not read it. */
export const slowConsumer = new StatusError(
  "SLOW_CONSUMER",
  "the client has read nothing for too long (read faster or watch fewer ids)",
);

/** The error of a call without a known bearer token. */
export const unauthenticated = new StatusError(
  "UNAUTHENTICATED",
  "the call needs a bearer token that is known here",
);
