import type { Admission } from "./admission.ts";
import type { Call } from "./call.ts";
import { overloaded, StatusError } from "./errors.ts";
import { parseReqId } from "./req-id.ts";
import type { JobStatus } from "./status.ts";
import type { StatusStore } from "./status-store.ts";

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
      const limit = admission.enter(1);
      if (limit !== undefined) throw overloaded(limit);
      try {
        const reqId = parseReqId(text);
        const status = await store.find(reqId, call);
        if (status === undefined) {
          throw new StatusError("STATUS_NOT_FOUND", `no status for request ${reqId} (unknown or expired)`);
        }
        return status;
      } finally {
        admission.leave(1);
      }
    },
  };
}
