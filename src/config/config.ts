import { isAmbiguous } from "../store/url/connection-url.ts";
import { fileMistakes } from "./files.ts";
import { type Environment, type Kind, notShown } from "./kinds.ts";
import { removedSettings, type Setting, type SettingName, settings } from "./settings.ts";

type Settings = typeof settings;
type Value<N extends SettingName> =
  | (Settings[N] extends Kind<infer T> ? T : never)
  | (Settings[N]["default"] extends string ? never : undefined);

/** Each setting by the name of its variable. Durations in milliseconds. */
export type Config = { readonly [N in SettingName]: Value<N> };

/** Every mistake in the environment, one a line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(mistakes: readonly string[]) {
    super(mistakes.join("\n"));
  }
}

/** What the settings are for: a database is opened by all but `get`, and a port by `serve` alone. */
export type Command = "serve" | "migrate" | "get";

/**
 * Reads the settings from the environment. A variable that is set to nothing counts as not set.
 *
 * @throws ConfigError that names every mistake: the variable, what it got, what it takes.
 */
export function readConfig(env: Environment, command: Command): Config {
  const mistakes: string[] = [];
  // Variables of libpq's, such as PGSSLMODE, concern those who open a database that they name.
  const databaseEnv = command === "get" ? {} : env;
  const values = Object.entries<Setting<unknown>>(settings).map(([name, setting]) => {
    const given = env[name] || setting.default;
    const value = given === undefined ? undefined : setting.read(given, databaseEnv);
    if (given !== undefined && value === undefined) {
      const got = setting.secret ? notShown : `it got ${JSON.stringify(given)}`;
      mistakes.push(
        ...(setting.mistakes?.(name, given, databaseEnv) ?? [`${name} takes ${setting.takes}: ${got}`]),
      );
    }
    return [name, value];
  });
  for (const [name, mistake] of Object.entries(removedSettings)) if (env[name]) mistakes.push(mistake);
  for (const [name, by] of demands(env, command)) {
    if (by && !env[name]) {
      mistakes.push(`${name} takes ${settings[name].takes}: it is not set, and ${by} demands it`);
    }
  }
  const config: Config = Object.fromEntries(values);
  if (command === "serve") {
    for (const { higher, lower, why } of orders) {
      // What is not set gives way: see settings.ts.
      if (!env[higher] || !env[lower] || !((config[higher] ?? 0) < (config[lower] ?? 0))) continue;
      mistakes.push(`${lower}=${config[lower]} does not go with ${higher}=${config[higher]}: ${why}`);
    }
  }
  for (const { name, problem } of fileMistakes(config, command)) {
    mistakes.push(
      `${name} takes ${settings[name].takes}: it got ${JSON.stringify(env[name])}, which ${problem}`,
    );
  }
  if (command === "get" && env.STATUS_CLIENT_CERT && config.STATUS_URL?.startsWith("http:")) {
    mistakes.push("STATUS_CLIENT_CERT does not go with a STATUS_URL of http://: it is shown over TLS alone");
  }
  if (mistakes.length > 0) throw new ConfigError([...new Set(mistakes)]);
  return config;
}

/** Settings of which one must not be more than the other. */
const orders = [
  {
    lower: "BATCHES_IN_FLIGHT",
    higher: "DATABASE_POOL_SIZE",
    why: "each statement needs a connection of its own",
  },
  { lower: "BATCH_FLUSH_AT", higher: "MAX_QUEUED", why: "no more ids than that may wait" },
] as const;

/** Which settings must not be missing, and on whose account. */
function demands(env: Environment, command: Command): [name: SettingName, by: string | undefined | false][] {
  const isProduction = env.NODE_ENV === "production";
  return [
    // The database of the service's own is for trying it out.
    [
      "DATABASE_URL",
      command !== "get" &&
        (isProduction ? "NODE_ENV=production" : env.DATABASE_READ_URL && "DATABASE_READ_URL"),
    ],
    ["TLS_CERT", env.TLS_KEY ? "TLS_KEY" : env.TLS_CLIENT_CA && "TLS_CLIENT_CA"],
    ["TLS_KEY", env.TLS_CERT && "TLS_CERT"],
    ["STATUS_CLIENT_CERT", env.STATUS_CLIENT_KEY && "STATUS_CLIENT_KEY"],
    ["STATUS_CLIENT_KEY", env.STATUS_CLIENT_CERT && "STATUS_CLIENT_CERT"],
  ];
}

/** The settings as they may be logged: of a secret, what is none. */
export function showConfig(config: Config): Record<string, unknown> {
  const { DATABASE_URL, DATABASE_READ_URL, STATUS_URL, STATUS_TOKEN } = config;
  return {
    ...config,
    DATABASE_URL: DATABASE_URL === undefined ? "embedded" : withoutSecrets(DATABASE_URL),
    DATABASE_READ_URL: DATABASE_READ_URL && withoutSecrets(DATABASE_READ_URL),
    STATUS_URL: withoutSecrets(STATUS_URL),
    STATUS_TOKEN: STATUS_TOKEN && "set",
  };
}

/** A URL without its password, and without its query: libpq takes passwords there. */
export function withoutSecrets(url: string): string {
  const [, scheme, user, address] = /^(\w+:\/\/)(?:([^:@]*)(?::[^@]*)?@)?([^?#]*)/.exec(url) ?? [];
  if (scheme === undefined || address === undefined || isAmbiguous(url)) return "not shown";
  return `${scheme}${user ? `${user}@` : ""}${address.replace(/\/$/, "")}`;
}
