import pino, { type DestinationStream, type Logger } from "pino";
import pretty from "pino-pretty";
import type { ListenToCalls } from "./calls.ts";

export type Log = Logger;

/** JSON lines on standard output, or something for human eyes when that is a terminal. */
export function createLog(level: string, destination?: DestinationStream): Log {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: describeError },
  };
  if (destination !== undefined) return pino(options, destination);
  return process.stdout.isTTY ? pino(options, pretty({ sync: true })) : pino(options, pino.destination(1));
}

/** SQLSTATE: data exceptions and integrity constraint violations, whose messages show the value that they are about. */
const rowErrors = /^2[23]/;

/**
 * What a log may tell of an error: what went wrong and where in our code, but no statement, no parameter and
 * no row, which PostgreSQL puts into `detail`, `where` and `internalQuery`.
 */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  const quotesRows = severity !== undefined && rowErrors.test(String(code));
  return {
    name: error.name,
    message: quotesRows ? "not shown, since it may quote a row" : error.message,
    ...(code !== undefined && { code }),
    ...(error instanceof AggregateError && { errors: error.errors.map(describeError) }),
    ...(error.cause !== undefined && { cause: describeError(error.cause) }),
    // The message stands in front of it, in as many lines as it has.
    stack: error.stack?.match(/^ {4}at .*$/gm)?.join("\n"),
  };
}

/** Failures in a second that get a line of their own. The rest are counted: a database that is gone fails every call. */
const failuresPerSecond = 10;

/**
 * Logs calls that failed by our fault, with the request id that their callers were told.
 *
 * @param everyCall logs the others, too.
 */
export function logCalls(log: Log, everyCall: boolean): ListenToCalls {
  let failures = 0;

  function isOneTooMany(): boolean {
    if (failures === 0) setTimeout(endSecond, 1_000).unref();
    failures++;
    return failures > failuresPerSecond;
  }

  function endSecond(): void {
    if (failures > failuresPerSecond) log.error({ count: failures - failuresPerSecond }, "more calls failed");
    failures = 0;
  }

  return (protocol, method) => ({
    ended({ code, duration, info, fault }) {
      if (!everyCall && (fault === undefined || isOneTooMany())) return;
      const { reqId, requestId, caller, peer } = info;
      const duration_ms = Math.round(duration * 1000) / 1000;
      const call = { protocol, method, code, duration_ms, reqId, requestId, caller, peer };
      if (fault === undefined) log.info(call, "call");
      else log.error({ ...call, err: fault }, "call failed");
    },
  });
}
