/** Every way a call can fail that a caller may act on, and the errors that are made once for all calls. */

export type StatusErrorReason =
  | "INVALID_REQ_ID"
  | "STATUS_NOT_FOUND"
  | "DATASTORE_UNAVAILABLE"
  | "DEADLINE_EXCEEDED"
  | "OVERLOADED"
  | "STATUS_UNREADABLE"
  | "UNAUTHENTICATED"
  | "GOING_AWAY";

/** The settings that limit concurrent work. Calls beyond them are shed. */
export const limits = [
  "MAX_IN_FLIGHT",
  "MAX_WHEN_BUSY",
  "MAX_QUEUED",
  "MAX_WAITING",
  "MAX_RECEIVING_SIZE",
] as const;
export type Limit = (typeof limits)[number];

/** A failure from the closed list of the contract. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly reason: StatusErrorReason;
  /** The setting that shed the call. Present if and only if the reason is `OVERLOADED`. */
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

/** The error of a call that is held on a connection older than MAX_CONNECTION_AGE and its grace. */
export const goingAway = new StatusError(
  "GOING_AWAY",
  "the connection is old enough and is closed (ask again on another)",
);

/** The error of a call without a known bearer token. */
export const unauthenticated = new StatusError(
  "UNAUTHENTICATED",
  "the call needs a bearer token that is known here",
);
