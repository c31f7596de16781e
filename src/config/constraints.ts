import type { Environment } from "./kinds.ts";
import type { SettingName } from "./settings.ts";

/** What the settings are read for. */
export type Command = "serve" | "migrate" | "purge" | "get";

/** @returns the settings that are not set, each with the setting that requires it. */
export function missingSettings(
  env: Environment,
  command: Command,
): { readonly name: SettingName; readonly requiredBy: string }[] {
  return requirements(env, command).flatMap(([name, requiredBy]) =>
    requiredBy && !env[name] ? [{ name, requiredBy }] : [],
  );
}

function requirements(
  env: Environment,
  command: Command,
): [name: SettingName, requiredBy: string | undefined | false][] {
  const isProduction = env.NODE_ENV === "production";
  return [
    // The embedded database is for trying the service out.
    [
      "DATABASE_URL",
      command !== "get" &&
        !env.DATABASE_URL_FILE &&
        (isProduction ? "NODE_ENV=production" : replicas.find((name) => env[name])),
    ],
    ["TLS_CERT", env.TLS_KEY ? "TLS_KEY" : env.TLS_CLIENT_CA && "TLS_CLIENT_CA"],
    ["TLS_KEY", env.TLS_CERT && "TLS_CERT"],
    ["STATUS_CLIENT_CERT", env.STATUS_CLIENT_KEY && "STATUS_CLIENT_KEY"],
    ["STATUS_CLIENT_KEY", env.STATUS_CLIENT_CERT && "STATUS_CLIENT_CERT"],
  ];
}

const replicas = ["DATABASE_READ_URL", "DATABASE_READ_URL_FILE"] as const;

/** Settings of which the first must not be greater than the second. */
const upperBounds = [
  {
    name: "BATCHES_IN_FLIGHT",
    bound: "DATABASE_POOL_SIZE",
    reason: "each statement needs a connection of its own",
  },
  { name: "BATCH_FLUSH_AT", bound: "MAX_QUEUED", reason: "no more ids than that can wait" },
] as const;

/** The settings that are compared with others. Undefined: the value could not be read, and has been reported. */
interface Comparable
  extends Readonly<Record<(typeof upperBounds)[number]["name" | "bound"], number | undefined>> {
  readonly STATUS_URL: string | undefined;
}

/** @returns an error for each pair of settings that cannot both apply. A default gives way to a setting that is set. */
export function conflicts(env: Environment, values: Comparable, command: Command): string[] {
  if (command === "get") {
    return env.STATUS_CLIENT_CERT && values.STATUS_URL?.startsWith("http:")
      ? [
          "STATUS_CLIENT_CERT conflicts with a STATUS_URL of http://: a certificate is presented over TLS alone",
        ]
      : [];
  }
  const urls = (["DATABASE_URL", "DATABASE_READ_URL"] as const).flatMap((name) =>
    env[name] && env[`${name}_FILE`] ? [`${name}_FILE conflicts with ${name}: set one of them`] : [],
  );
  if (command !== "serve") return urls;
  const exceeded = upperBounds.flatMap(({ name, bound, reason }) => {
    const isExceeded = (values[bound] ?? 0) < (values[name] ?? 0);
    return env[name] && env[bound] && isExceeded
      ? [`${name}=${values[name]} conflicts with ${bound}=${values[bound]}: ${reason}`]
      : [];
  });
  return [...urls, ...exceeded];
}
