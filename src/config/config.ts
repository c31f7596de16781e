import { readNow } from "../server/watched-files.ts";
import { type Command, conflicts, missingSettings } from "./constraints.ts";
import { clientFileMistakes, serverFileMistakes } from "./files.ts";
import { type Environment, type Kind, notShown } from "./kinds.ts";
import { removedSettings, type Setting, type SettingName, settings } from "./settings.ts";
import { UrlFileError } from "./url-file.ts";

type Settings = typeof settings;
type Value<N extends SettingName> =
  | (Settings[N] extends Kind<infer T> ? T : never)
  | (Settings[N]["default"] extends string ? never : undefined);

/** Each setting by the name of its variable. Durations are in milliseconds, sizes in bytes. */
export type Config = { readonly [N in SettingName]: Value<N> };

/** All mistakes in the environment, a line each. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(mistakes: readonly string[]) {
    super(mistakes.join("\n"));
  }
}

/**
 * Reads the settings from the environment. A variable that is set to the empty string counts as not set.
 *
 * @param command the settings that other commands use are read, too, but need not be complete.
 * @throws ConfigError that names every mistake: the variable, the value it got, the values it takes.
 */
export function readConfig(env: Environment, command: Command): Config {
  const mistakes: string[] = [];
  // The variables of libpq, such as PGSSLMODE, matter to the commands that open a database.
  const databaseEnv = command === "get" ? {} : env;
  const values = Object.entries<Setting<unknown>>(settings).map(([name, setting]) => {
    const given = env[name] || setting.default;
    const value = given === undefined ? undefined : setting.read(given, databaseEnv);
    if (given !== undefined && value === undefined) {
      mistakes.push(...mistakesOf(name, setting, given, databaseEnv));
    }
    return [name, value];
  });
  const config: Config = Object.fromEntries(values);
  if (command !== "get") Object.assign(config, urlsInFiles(env, config, mistakes));
  for (const [name, mistake] of Object.entries(removedSettings)) if (env[name]) mistakes.push(mistake);
  for (const { name, requiredBy } of missingSettings(env, command)) {
    mistakes.push(`${name} takes ${settings[name].takes}: it is not set, and ${requiredBy} requires it`);
  }
  mistakes.push(...conflicts(env, config, command));
  for (const { name, problem } of fileMistakes(config, command)) {
    mistakes.push(
      `${name} takes ${settings[name].takes}: it got ${JSON.stringify(env[name])}, which ${problem}`,
    );
  }
  if (mistakes.length > 0) throw new ConfigError([...new Set(mistakes)]);
  return config;
}

function mistakesOf(name: string, setting: Setting<unknown>, given: string, env: Environment): string[] {
  const got = setting.secret ? notShown : `it got ${JSON.stringify(given)}`;
  return setting.mistakes?.(name, given, env) ?? [`${name} takes ${setting.takes}: ${got}`];
}

/** @returns the URLs that files hold, as the settings that they stand for. @param mistakes those of the files are added. */
function urlsInFiles(env: Environment, config: Config, mistakes: string[]): Partial<Config> {
  return Object.fromEntries(
    (["DATABASE_URL", "DATABASE_READ_URL"] as const).flatMap((name) => {
      const file = config[`${name}_FILE`];
      if (file === undefined || env[name]) return [];
      try {
        return [[name, file.parse(readNow(file.path))]];
      } catch (error) {
        if (!(error instanceof UrlFileError)) throw error;
        mistakes.push(...error.lines);
        return [];
      }
    }),
  );
}

function fileMistakes(config: Config, command: Command) {
  if (command === "get") return clientFileMistakes(config);
  return command === "serve" ? serverFileMistakes(config) : [];
}
