/** What the service answers with: the status of one request, and the rules of the contract about it. */

/**
 * How long a status exists after its creation, in milliseconds, by the database's clock. A rule of the contract; the
 * statements and the table's guard say it as `interval '24 hours'`.
 */
export const statusLifetime = 24 * 3_600_000;

/** The longest error text, in characters (Unicode code points): a rule of the contract, kept by the table's trigger. */
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
