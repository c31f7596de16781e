import type { Config } from "../config/config.ts";
import { type ExitCode, exitCodes } from "./exit-codes.ts";
import { runUntilTerminated } from "./run-until-terminated.ts";

/** Brings the schema of the database up to this version. A signal that comes before that is done counts as a failure. */
export function migrate(config: Config): Promise<ExitCode> {
  return runUntilTerminated(config, exitCodes.failure, async ({ log, signal }) => {
    // Loaded once signals are handled: see serve.ts.
    const { migrateApp } = await import("../app/migrate.ts");
    await migrateApp(config, log, signal);
  });
}
