import pino, { type DestinationStream, type Logger } from "pino";

export type Log = Logger;

/** @param destination gets one line of JSON at a time. */
export function createLog(level: string, destination: DestinationStream): Log {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: describeError },
  };
  return pino(options, destination);
}

/** SQLSTATE: data exceptions and integrity constraint violations, whose messages quote values. */
const rowErrors = /^2[23]/;

/**
 * @returns what the log may contain of an error: its message, causes and stack, but no statement, no parameter and no row,
 *   which PostgreSQL puts into `detail`, `where` and `internalQuery`.
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
    // Without the message, which precedes it in any number of lines.
    stack: error.stack?.match(/^ {4}at .*$/gm)?.join("\n"),
  };
}
