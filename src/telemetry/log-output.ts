import { isatty } from "node:tty";
import { createLogWriter, type LogWriter } from "./log-writer.ts";
import { keepBlocking } from "./node-internals.ts";

/** Standard output: the lines of the log, and texts for people. */
export interface LogOutput extends LogWriter {
  /** Writes a text unchanged. */
  print(text: string): void;
}

/** @returns an output for lines of JSON, which are formatted on a terminal. */
export async function openLogOutput(): Promise<LogOutput> {
  keepBlocking(process.stdout, process.stderr);
  // Loaded for terminals alone: no service that is operated has one, and it would delay the start of each.
  const format = isatty(1) ? (await import("pino-pretty")).prettyFactory({}) : (line: string) => line;
  const { write, end, droppedLines } = createLogWriter(1, (count) =>
    format(
      `${JSON.stringify({ level: "warn", time: new Date().toISOString(), count, msg: "log lines were dropped" })}\n`,
    ),
  );
  return { write: (line) => write(format(line)), print: write, end, droppedLines };
}
