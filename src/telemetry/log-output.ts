import { isatty } from "node:tty";
import { prettyFactory } from "pino-pretty";
import { createLogWriter, type LogWriter } from "./log-writer.ts";
import { keepBlocking } from "./node-internals.ts";

/** Standard output: the lines of the log, and texts for people. */
export interface LogOutput extends LogWriter {
  /** Writes a text unchanged. */
  print(text: string): void;
}

/** @returns an output for lines of JSON, which are formatted on a terminal. */
export function openLogOutput(): LogOutput {
  keepBlocking(process.stdout, process.stderr);
  const format = isatty(1) ? prettyFactory({}) : (line: string) => line;
  const { write, end, droppedLines } = createLogWriter(1, (count) =>
    format(
      `${JSON.stringify({ level: "warn", time: new Date().toISOString(), count, msg: "log lines were dropped" })}\n`,
    ),
  );
  return { write: (line) => write(format(line)), print: write, end, droppedLines };
}
