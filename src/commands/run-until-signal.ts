import type { Config } from "../config/config.ts";
import { unknownVariableWarnings } from "../config/unknown-variables.ts";
import { createLog, type Log, type LogOutput, openLogOutput } from "../telemetry/log.ts";
import { stopSignal } from "./stop-signal.ts";

/** How long the end of a command waits for its log to be written, in milliseconds. */
const logTimeout = 2_000;

export interface Surroundings {
  readonly log: Log;
  readonly output: LogOutput;
  /** Tells the work to stop; then it may take its time, or reject with the signal's reason. */
  readonly signal: AbortSignal;
}

/**
 * Runs a command that logs, and that signals stop. What it has logged is written when this settles, or cannot be.
 *
 * @param gaveUp the exit code when a signal came before the work was done.
 * @returns the exit code.
 */
export async function runUntilSignal(
  { LOG_LEVEL }: Config,
  gaveUp: number,
  work: (surroundings: Surroundings) => Promise<void>,
): Promise<number> {
  const signal = stopSignal();
  const output = openLogOutput();
  const log = createLog(LOG_LEVEL, output);
  process.once("uncaughtException", async (err) => {
    log.fatal({ err }, "crashed");
    await output.end(logTimeout);
    process.exit(1);
  });
  const exitCode = await run(gaveUp, work, { log, output, signal });
  if (!(await output.end(logTimeout))) process.exit(exitCode);
  return exitCode;
}

async function run(
  gaveUp: number,
  work: (surroundings: Surroundings) => Promise<void>,
  surroundings: Surroundings,
): Promise<number> {
  const { log, signal } = surroundings;
  for (const warning of unknownVariableWarnings(process.env)) log.warn(warning);
  let exitCode = 0;
  try {
    await work(surroundings);
  } catch (err) {
    if (err !== signal.reason) {
      log.fatal({ err }, "cannot start");
      return 1;
    }
    exitCode = gaveUp;
  }
  if (signal.aborted) log.info("stopped");
  return exitCode;
}
