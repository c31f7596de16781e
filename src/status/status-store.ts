import type { Call } from "./call.ts";
import type { StatusError } from "./errors.ts";
import type { ReqId } from "./req-id.ts";
import type { JobStatus } from "./status.ts";

/** What reading one of several ids came to: its status; undefined where there is no live one; why it could not be read. */
export type StatusOutcome = JobStatus | undefined | StatusError;

/** A status as it is read for calls that wait for another. */
export interface PolledStatus extends JobStatus {
  /** How old the request was when it was read, in milliseconds, by the database's clock. */
  readonly age: number;
  /** How long ago its row was changed then, in the same way: since the transaction began that changed it. */
  readonly sinceUpdate: number;
}

/** What reading an id for calls that wait came to, as in {@link StatusOutcome}. */
export type PollOutcome = PolledStatus | undefined | StatusError;

/** What the service needs of a database. `store/` implements it. */
export interface StatusStore {
  /**
   * Reads the status of one request after the call came in, never from a cache.
   *
   * @returns undefined when there is no live status under this id.
   * @throws StatusError `DATASTORE_UNAVAILABLE`, `DEADLINE_EXCEEDED`, `OVERLOADED` or `STATUS_UNREADABLE`; the reason with
   *   which the call was cancelled.
   */
  find(reqId: ReqId, call: Call): Promise<JobStatus | undefined>;
  /**
   * Reads the statuses of several requests, each as {@link find} does. They need not be of one moment: an id may be read by
   * another statement than its neighbour.
   *
   * An id that cannot be read has a StatusError for its outcome, of the reasons that `find` throws, and does not affect the
   * others: once the call's deadline has passed, what was read until then is returned, and the rest is `DEADLINE_EXCEEDED`.
   *
   * @param reqIds an id that is given twice is read once.
   * @returns the outcome of each id, in the order in which the ids are given.
   * @throws only the reason with which the call was cancelled.
   */
  findMany(reqIds: readonly ReqId[], call: Call): Promise<ReadonlyMap<ReqId, StatusOutcome>>;
  /**
   * Reads ids for calls that wait, as {@link findMany} does, but behind all calls that do not, and without a limit on how many
   * ids are queued. A `failure` is never a replica's word alone: it may be of an attempt before the last.
   */
  poll(reqIds: readonly ReqId[], call: Call): Promise<ReadonlyMap<ReqId, PollOutcome>>;
}
