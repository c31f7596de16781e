import type { ListenToCalls } from "./calls.ts";
import type { Log } from "./log.ts";

/** Failures that are logged in a second. The others are counted: while the database is unavailable, every call fails. */
const failuresPerSecond = 10;

/**
 * Logs the calls that failed by the service's fault, with the request id that their callers received.
 *
 * @param everyCall logs the other calls, too.
 */
export function logCalls(log: Log, everyCall: boolean): ListenToCalls {
  let failures = 0;

  function isBeyondLimit(): boolean {
    if (failures === 0) setTimeout(endSecond, 1_000).unref();
    failures++;
    return failures > failuresPerSecond;
  }

  function endSecond(): void {
    if (failures > failuresPerSecond) log.error({ count: failures - failuresPerSecond }, "more calls failed");
    failures = 0;
  }

  return (protocol, method) => ({
    ended({ code, duration, call, fault }) {
      if (!everyCall && (fault === undefined || isBeyondLimit())) return;
      const { reqId, requestId, caller, peer } = call;
      const duration_ms = Math.round(duration * 1000) / 1000;
      const line = { protocol, method, code, duration_ms, reqId, requestId, caller, peer };
      if (fault === undefined) log.info(line, "call");
      else log.error({ ...line, err: fault }, "call failed");
    },
  });
}
