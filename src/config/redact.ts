import { isAmbiguous } from "../store/url/connection-url.ts";
import type { Config } from "./config.ts";

/** @returns the settings as they may be logged: secrets are removed. */
export function redactConfig(config: Config): Record<string, unknown> {
  const { DATABASE_URL, DATABASE_READ_URL, STATUS_URL, STATUS_TOKEN } = config;
  return {
    ...config,
    DATABASE_URL: DATABASE_URL === undefined ? "embedded" : redactUrl(DATABASE_URL),
    DATABASE_URL_FILE: config.DATABASE_URL_FILE?.path,
    DATABASE_READ_URL: DATABASE_READ_URL && redactUrl(DATABASE_READ_URL),
    DATABASE_READ_URL_FILE: config.DATABASE_READ_URL_FILE?.path,
    STATUS_URL: redactUrl(STATUS_URL),
    STATUS_TOKEN: STATUS_TOKEN && "set",
  };
}

/** @returns a URL without its password, and without its query, in which libpq takes passwords, too. */
export function redactUrl(url: string): string {
  const [, scheme, user, address] = /^(\w+:\/\/)(?:([^:@]*)(?::[^@]*)?@)?([^?#]*)/.exec(url) ?? [];
  if (scheme === undefined || address === undefined || isAmbiguous(url)) return "not shown";
  return `${scheme}${user ? `${user}@` : ""}${address.replace(/\/$/, "")}`;
}
