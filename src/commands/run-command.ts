import { type Config, ConfigError, readConfig } from "../config/config.ts";
import type { Command } from "../config/constraints.ts";
import { exitCodes } from "./exit-codes.ts";

/** Runs a command with its settings. Mistakes in them are printed on standard error instead. @returns the exit code. */
export async function runCommand(
  name: Command,
  command: (config: Config) => Promise<number>,
): Promise<number> {
  let config: Config;
  try {
    config = readConfig(process.env, name);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return exitCodes.usage;
  }
  return await command(config);
}
