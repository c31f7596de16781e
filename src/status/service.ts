import type { Admission } from "./admission.ts";
import type { Call } from "./call.ts";
import { type JobStatus, overloaded, parseReqId, type ReqId, StatusError } from "./status.ts";

/** What the service needs of a database. */
export interface StatusStore {
  /**
   * Reads the status of one request after the call came in, never from a cache.
   *
   * @returns undefined when there is no live status under this id.
   * @throws StatusError `DATASTORE_UNAVAILABLE`, `DEADLINE_EXCEEDED` or `OVERLOADED`, or the reason with which the
   *   call was cancelled.
   */
  find(reqId: ReqId, call: Call): Promise<JobStatus | undefined>;
}

/** What every protocol serves. */
export interface StatusService {
  /**
   * @param reqId as the caller wrote it.
   * @throws StatusError, or the reason with which the call was cancelled.
   */
  getStatus(reqId: string, call: Call): Promise<JobStatus>;
}

export function createStatusService(store: StatusStore, admission: Admission): StatusService {
  return {
    async getStatus(text, call) {
      const limit = admission.enter();
      if (limit !== undefined) throw overloaded(limit);
      try {
        const reqId = parseReqId(text);
        const status = await store.find(reqId, call);
        if (status === undefined) {
          throw new StatusError("STATUS_NOT_FOUND", `no status for request ${reqId} (unknown or expired)`);
        }
        return status;
      } finally {
        admission.leave();
      }
    },
  };
}
