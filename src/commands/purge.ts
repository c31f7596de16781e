import type { PurgeCommand } from "../app/purge.ts";
import type { Config } from "../config/config.ts";
import { type ExitCode, exitCodes } from "./exit-codes.ts";
import { createProgress } from "./purge-progress.ts";
import { runUntilTerminated } from "./run-until-terminated.ts";

/** Deletes expired jobs, or counts them. A signal ends it after the batch that runs, which counts as a success. */
export function purge(config: Config, command: PurgeCommand): Promise<ExitCode> {
  return runUntilTerminated(
    config,
    exitCodes.success,
    async ({ log, output, signal }) => {
      // Loaded once signals are handled: see serve.ts.
      const { purgeApp } = await import("../app/purge.ts");
      using progress = createProgress(log, output);
      await purgeApp(config, command, log, signal, progress.show);
    },
    async (error) => {
      const { purgeFailure } = await import("../app/purge-failure.ts");
      return { exitCode: exitCodes[purgeFailure(error)], message: "cannot purge" };
    },
  );
}
