import type { Call } from "./call.ts";
import type { ReqId } from "./req-id.ts";
import type { JobStatus } from "./status.ts";

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
}
