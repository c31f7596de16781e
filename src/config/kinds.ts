import { isIP } from "node:net";
import { longestDelay } from "../status/longest-delay.ts";
import { ConnectionUrlError, encodeCredentials, isAmbiguous } from "../store/url/connection-url.ts";
import { completeUrl, readDatabaseUrl } from "../store/url/database-url.ts";
import { databaseUrlForm, type UrlFile, urlFileAt } from "./url-file.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** A kind of values: a description for operators, and the function that reads one. */
export interface Kind<T> {
  /** The values that are accepted, as the object of "takes". */
  readonly takes: string;
  /** @returns undefined when the text is not of this kind. */
  readonly read: (text: string, env?: Environment) => T | undefined;
  /** What is wrong with a text that is not of this kind, a line each. The lines repeat no secret that it may hold. */
  readonly mistakes?: (name: string, text: string, env: Environment) => string[];
}

/** Stands in an error for a value that may hold a secret. */
export const notShown = "it got something else, not shown since it may hold a secret";

export const port: Kind<number> = {
  takes: "a port, 0 to 65535",
  read: (text) => (/^\d{1,5}$/.test(text) && Number(text) <= 65535 ? Number(text) : undefined),
};

export const count: Kind<number> = {
  takes: "a whole number, 1 to 1000",
  read: (text) =>
    /^\d{1,4}$/.test(text) && Number(text) >= 1 && Number(text) <= 1000 ? Number(text) : undefined,
};

export const limit: Kind<number> = {
  takes: "a whole number, 1 to 1000000",
  read: (text) =>
    /^\d{1,7}$/.test(text) && Number(text) >= 1 && Number(text) <= 1_000_000 ? Number(text) : undefined,
};

/** In bytes: Node keeps lengths in signed 32-bit numbers. */
const largestSize = 2 ** 31 - 1;

export const size: Kind<number> = {
  takes: "a size with its unit, like 16KiB or 4MiB, from 1KiB to 2047MiB",
  read(text) {
    const [, amount, unit] = /^(\d+)(KiB|MiB)$/.exec(text) ?? [];
    const bytes = Number(amount) * (unit === "MiB" ? 2 ** 20 : 2 ** 10);
    return bytes >= 1024 && bytes <= largestSize ? bytes : undefined;
  },
};

export const flag: Kind<boolean> = {
  takes: "true or false",
  read: (text) => (text === "true" ? true : text === "false" ? false : undefined),
};

const unitsInMs: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export const duration: Kind<number> = {
  takes: "a duration with its unit, like 500ms, 2s, 10m, 24h or 7d, from 1ms to 24d",
  read(text) {
    const [, amount, unit = ""] = /^(\d+)(ms|s|m|h|d)$/.exec(text) ?? [];
    const ms = Number(amount) * (unitsInMs[unit] ?? Number.NaN);
    return ms >= 1 && ms <= longestDelay ? ms : undefined;
  },
};

/** A label of a host name (RFC 1123, section 2.1). Container runtimes also resolve names with underscores. */
const label = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const hostName = new RegExp(`^(?:${label}\\.)*${label}\\.?$`, "i");

export const host: Kind<string> = {
  takes:
    "an IP address or a host name, without brackets and without a port, like 127.0.0.1, ::1 or localhost",
  read(value) {
    if (isIP(value) !== 0) return value;
    // A name whose last label is a number would be parsed as an IPv4 address (URL standard, section 3.5).
    return hostName.test(value) && !/(?:^|\.)\d+\.?$/.test(value) ? value : undefined;
  },
};

export const text: Kind<string> = { takes: "a text", read: (value) => value };

/** @param what the file holds. */
export function path(what: string): Kind<string> {
  return { takes: `the path of ${what}`, read: (value) => value };
}

export const token: Kind<string> = {
  // RFC 6750, section 2.1.
  takes: "a bearer token: letters, digits and -._~+/, with = at its end alone",
  read: (value) => (/^[\w.~+/-]+=*$/.test(value) ? value : undefined),
};

/** A scheme, a host and an optional port, and nothing else. */
const bareOrigin = /^https?:\/\/[^\s/?#@*]+$/i;

/** Read as browsers write origins: in lower case, without the scheme's default port. No part of one can be a wildcard. */
export const origins: Kind<readonly string[]> = {
  takes:
    "* or exact origins, each once and with commas between them, like https://app.example.com,http://localhost:3000",
  read(text) {
    if (text.trim() === "*") return ["*"];
    const read = text
      .split(",")
      .map((each) => (bareOrigin.test(each.trim()) ? URL.parse(each.trim()) : null));
    const names = read.map((url) => url?.origin ?? "");
    return names.includes("") || new Set(names).size < names.length ? undefined : names;
  },
};

export function oneOf<const T extends string>(...words: T[]): Kind<T> {
  return { takes: `one of ${words.join(", ")}`, read: (value) => words.find((word) => word === value) };
}

/** A scheme, a name and a port alone: such a value holds no secret. */
const harmless = /^([a-z]+:\/*)?[\w.-]*(:\d+)?$/i;

/** The base URL of a server: the paths of its calls are appended. */
export const serverUrl: Kind<string> = {
  takes: "a URL that begins with http:// or https:// and has no query and no fragment",
  read(value) {
    // URL.parse removes white space, which must not be accepted.
    const { protocol = "" } = (/[\s?#]/.test(value) ? null : URL.parse(value)) ?? {};
    return ["http:", "https:"].includes(protocol) && !isAmbiguous(value) ? value : undefined;
  },
  mistakes(name, value) {
    const shown = harmless.test(value) ? `it got ${JSON.stringify(value)}` : notShown;
    return [`${name} takes ${this.takes}: ${isAmbiguous(value) ? encodeCredentials : shown}`];
  },
};

export const databaseUrl: Kind<string> = {
  takes: databaseUrlForm,
  read(value, env = {}) {
    try {
      const reading = readDatabaseUrl(value, env, "");
      return reading.mistakes.length === 0 ? completeUrl(value, reading) : undefined;
    } catch (error) {
      if (error instanceof ConnectionUrlError) return undefined;
      throw error;
    }
  },
  mistakes(name, value, env) {
    try {
      return [...readDatabaseUrl(value, env, name).mistakes];
    } catch (error) {
      if (error instanceof ConnectionUrlError) return [`${name} takes ${this.takes}: ${error.message}`];
      throw error;
    }
  },
};

/** @param setting that names the file. */
export function databaseUrlFile(setting: string): Kind<UrlFile> {
  return {
    takes: `the path of a file that holds ${databaseUrl.takes}, and nothing else`,
    // The URL itself, by mistake: an error that shows the path would show its password.
    read: (path, env = {}) => (path.includes("://") ? undefined : urlFileAt(path, setting, env)),
    mistakes(name) {
      return [`${name} takes ${this.takes}: ${notShown}`];
    },
  };
}
