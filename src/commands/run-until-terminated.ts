import type { Config } from "../config/config.ts";
import { unknownVariableWarnings } from "../config/unknown-variables.ts";
import { createLog, type Log } from "../telemetry/log.ts";
import { type LogOutput, openLogOutput } from "../telemetry/log-output.ts";
import { type ExitCode, exitCodes } from "./exit-codes.ts";
import { terminationSignal } from "./termination-signal.ts";

/** Maximum time that the end of a command waits for its log to be written, in milliseconds. */
const logTimeout = 2_000;

export interface CommandContext {
  readonly log: Log;
  readonly output: LogOutput;
  /** Fires when the process is told to terminate. The work may then take its time, or reject with the signal's reason. */
  readonly signal: AbortSignal;
}

/** What an error that ends a command means. */
interface Failure {
  readonly exitCode: ExitCode;
  /** The line of the log that has the error. */
  readonly message: string;
}

/**
 * Runs a command that logs, and that termination signals stop. When this settles, the log has been written, or cannot be.
 *
 * @param whenStopped the exit code when a signal came before the work was done.
 * @param failureOf what an error means that the work rejects with.
 */
export async function runUntilTerminated(
  { LOG_LEVEL }: Config,
  whenStopped: ExitCode,
  work: (context: CommandContext) => Promise<void>,
  failureOf: (error: unknown) => Failure | Promise<Failure> = cannotStart,
): Promise<ExitCode> {
  const signal = terminationSignal();
  const output = await openLogOutput();
  const log = createLog(LOG_LEVEL, output);
  process.once("uncaughtException", async (err) => {
    log.fatal({ err }, "crashed");
    await output.end(logTimeout);
    process.exit(exitCodes.failure);
  });
  const exitCode = await run(whenStopped, work, failureOf, { log, output, signal });
  if (!(await output.end(logTimeout))) process.exit(exitCode);
  return exitCode;
}

async function run(
  whenStopped: ExitCode,
  work: (context: CommandContext) => Promise<void>,
  failureOf: (error: unknown) => Failure | Promise<Failure>,
  context: CommandContext,
): Promise<ExitCode> {
  const { log, signal } = context;
  for (const warning of unknownVariableWarnings(process.env)) log.warn(warning);
  let exitCode: ExitCode = exitCodes.success;
  try {
    await work(context);
  } catch (err) {
    if (err !== signal.reason) {
      const failure = await failureOf(err);
      log.fatal({ err }, failure.message);
      return failure.exitCode;
    }
    exitCode = whenStopped;
  }
  if (signal.aborted) log.info("stopped");
  return exitCode;
}

function cannotStart(): Failure {
  return { exitCode: exitCodes.failure, message: "cannot start" };
}
