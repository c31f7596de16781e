import { isatty } from "node:tty";
import pino, { type DestinationStream, type Logger } from "pino";
import { prettyFactory } from "pino-pretty";
import type { ListenToCalls } from "./calls.ts";
import { createLogWriter, type LogWriter } from "./log-writer.ts";

export type Log = Logger;

/** @param destination takes one line of JSON at a time. */
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

/** Standard output, which the lines of the log share with texts for people. */
export interface LogOutput extends LogWriter {
  /** Writes a text as it is. */
  print(text: string): void;
}

/** Takes lines of JSON, and makes them easier to read on a terminal. */
export function openLogOutput(): LogOutput {
  keepBlocking();
  const format = isatty(1) ? prettyFactory({}) : (line: string) => line;
  const { write, end, droppedLines } = createLogWriter(1, (count) =>
    format(
      `${JSON.stringify({ level: "warn", time: new Date().toISOString(), count, msg: "log lines were dropped" })}\n`,
    ),
  );
  return { write: (line) => write(format(line)), print: write, end, droppedLines };
}

/**
 * Node sets O_NONBLOCK on standard output and error when they are pipes or sockets, and so for every process that shares
 * them, as soon as any module imports `node:process` (commander does).
 */
function keepBlocking(): void {
  for (const stream of [process.stdout, process.stderr]) {
    const { _handle } = stream as { _handle?: { setBlocking?(blocking: boolean): void } };
    _handle?.setBlocking?.(true);
  }
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

/** Logs, once a second at most, how many connections were closed since there were as many as there may be. */
export function logDroppedConnections(log: Log): () => void {
  let count = 0;

  function endSecond(): void {
    log.warn({ count }, "connections were closed: there are as many as MAX_CONNECTIONS or ulimit -n admits");
    count = 0;
  }

  return () => {
    if (count === 0) setTimeout(endSecond, 1_000).unref();
    count++;
  };
}
