import { ConfigError, readConfig } from "../../src/config/config.ts";
import type { Command } from "../../src/config/constraints.ts";

/** The lines of the ConfigError, if there is one. */
export function mistakesIn(env: Readonly<Record<string, string>>, command: Command = "serve"): string[] {
  try {
    readConfig(env, command);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.split("\n");
  }
}
