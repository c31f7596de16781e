import { abortable } from "../status/abort.ts";
import type { DatastoreState } from "../status/readiness.ts";
import type { Database } from "../store/database.ts";
import type { Replica } from "../store/replica/replica.ts";

/**
 * Maximum time for the primary to answer a probe when there is a replica, in milliseconds. With the time that the replica
 * takes then, it is less than the timeout of a probe.
 */
const primaryTimeout = 700;

/**
 * @returns a probe of the datastore: `ready` when the primary answers, `degraded` when it does not and the replica answers
 *   within its bound. Rejects with the error of the primary's probe.
 */
export function createDatastoreProbe(
  primary: Pick<Database, "probe" | "isUnavailable">,
  replica: Replica | undefined,
): (signal: AbortSignal) => Promise<DatastoreState> {
  return async (signal) => {
    if (replica === undefined) {
      await primary.probe(signal);
      return "ready";
    }
    // While the breaker is open, it probes the primary itself, and this probe need not wait for the primary.
    if (primary.isUnavailable() && (await replica.becomesCurrent())) return "degraded";
    try {
      const limited = AbortSignal.any([signal, AbortSignal.timeout(primaryTimeout)]);
      await abortable(primary.probe(limited), limited);
      return "ready";
    } catch (error) {
      if (!signal.aborted && (await replica.becomesCurrent())) return "degraded";
      throw error;
    }
  };
}
