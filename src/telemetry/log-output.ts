import { isatty } from "node:tty";
import { createLogWriter, type LogWriter } from "./log-writer.ts";
import { keepBlocking } from "./node-internals.ts";

/** Standard output: the lines of the log, and texts for people. */
export interface LogOutput extends LogWriter {
  /** Writes a text unchanged. */
  print(text: string): void;
  /**
   * Shows a line without its end below the log, in place of the one before. An empty line removes it. Undefined where there is
   * no terminal, or one that cannot replace a line.
   */
  readonly showProgress?: (line: string) => void;
}

/** To the first column, and erase from there to the end of the line (ECMA-48). */
const eraseLine = "\r\x1b[K";

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
  const lines = { write: (line: string) => write(format(line)), print: write, end, droppedLines };
  if (!isatty(1) || process.env.TERM === "dumb") return lines;
  let shown = "";
  return {
    ...lines,
    write: (line) => write(shown === "" ? format(line) : `${eraseLine}${format(line)}${shown}`),
    showProgress(line) {
      if (line === shown) return;
      shown = line;
      write(eraseLine + line);
    },
  };
}
