import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { parseConnectionUrl } from "./connection-url.ts";
import {
  isUrlParameter,
  sessionVariables,
  type UrlParameter,
  type UrlParameterName,
  urlParameters,
} from "./parameters.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** The parameters of a connection that are set, and the variable that has set it where it was not the URL. */
type Given = ReadonlyMap<UrlParameterName, { readonly value: string; readonly env?: string }>;

interface Reading {
  readonly given: Given;
  /** Lines, each of which begins with what is to be changed. None shows a value. */
  readonly mistakes: readonly string[];
}

/** Parameters that are secrets: what follows an unencoded `&` in a secret reads as the name of a parameter. */
const secrets = ["password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"];

/**
 * Reads a URL and what the environment sets besides, as libpq does, and names whatever would be ignored.
 *
 * @param name of the setting that the URL is of.
 * @throws ConnectionUrlError when the URL cannot be read at all.
 */
export function readDatabaseUrl(url: string, env: Environment, name: string): Reading {
  const given = new Map<UrlParameterName, { value: string; env?: string }>();
  const mistakes: string[] = [];
  const parameters = [...parseConnectionUrl(url)];
  const mayHoldSecret = parameters.some(([parameter]) => secrets.includes(parameter));
  const isShown = (parameter: string) => !mayHoldSecret && /^\w+$/.test(parameter);
  for (const [parameter, value] of parameters) {
    // libpq takes what JDBC writes.
    if (parameter === "ssl" && value === "true") given.set("sslmode", { value: "require" });
    else if (isUrlParameter(parameter)) given.set(parameter, { value });
    else
      mistakes.push(
        `${name}: ${isShown(parameter) ? parameter : "a parameter (not shown)"} is none that libpq knows`,
      );
  }
  for (const [parameter, { env: variable, home }] of Object.entries<UrlParameter>(urlParameters)) {
    if (!isUrlParameter(parameter) || given.has(parameter)) continue;
    const value = variable && env[variable];
    if (variable && value) given.set(parameter, { value, env: variable });
    else if (home && env.HOME && isAtHome(parameter, join(env.HOME, home), given)) {
      given.set(parameter, { value: join(env.HOME, home) });
    }
  }
  // What is set to nothing is not set, and not by the environment either.
  for (const [parameter, { value }] of given) if (value === "") given.delete(parameter);
  translateRequiressl(given);
  for (const [parameter, { value, env: variable }] of given) {
    const { takes, help }: UrlParameter = urlParameters[parameter];
    if (takes === undefined || takes.test(value)) continue;
    const subject = variable === undefined ? `${name}: ${parameter}` : `${variable}: ${parameter}`;
    mistakes.push(
      takes.words === "nothing"
        ? `${subject} is not supported: ${help}`
        : `${subject} takes ${takes.words}${/^[a-z]/.test(help) ? `: ${help}` : ""}`,
    );
  }
  for (const [variable, setting] of Object.entries(sessionVariables)) {
    if (env[variable]) {
      mistakes.push(
        `${variable} is not supported: unset it, or set the role's ${setting} (options=-c%20${setting}=…)`,
      );
    }
  }
  if (mistakes.length === 0) mistakes.push(...contradictions(given).map((mistake) => `${name}: ${mistake}`));
  return { given, mistakes };
}

/** Whether a file that libpq reads when it is there is there, and would be read. */
function isAtHome(parameter: UrlParameterName, path: string, given: Given): boolean {
  if (parameter === "passfile" && given.has("password")) return false;
  if (parameter === "sslkey" && !given.has("sslcert")) return false;
  return existsSync(path);
}

/** The older name of sslmode, which does not count beside it. */
function translateRequiressl(given: Map<UrlParameterName, { value: string; env?: string }>): void {
  const old = given.get("requiressl");
  if (old === undefined || !/^[01]$/.test(old.value)) return;
  given.delete("requiressl");
  if (!given.has("sslmode"))
    given.set("sslmode", { ...old, value: old.value === "1" ? "require" : "prefer" });
}

/** Parameters that do not go together, for which libpq refuses to connect. */
function contradictions(given: Given): string[] {
  const get = (name: UrlParameterName) => given.get(name)?.value;
  const count = (name: UrlParameterName) => get(name)?.split(",").length ?? 1;
  const sslmode = get("sslmode");
  const isWeak = sslmode !== undefined && /^(disable|allow|prefer)$/.test(sslmode);
  const found: string[] = [];
  if (get("user") === undefined && systemUser() === undefined) {
    found.push("user is not given, and the system has no name for the user that the service runs as");
  }
  const hosts = get("hostaddr") === undefined ? count("host") : count("hostaddr");
  if (get("host") !== undefined && count("host") !== hosts) {
    found.push(`hostaddr has ${hosts} addresses, and host ${count("host")} names`);
  }
  if (count("port") > 1 && count("port") !== hosts)
    found.push(`port has ${count("port")} ports for ${hosts} hosts`);
  if (get("sslrootcert") === "system" && sslmode !== undefined && sslmode !== "verify-full") {
    found.push("sslrootcert=system wants sslmode=verify-full: anyone can have a certificate of these CAs");
  }
  if (sslmode === "verify-ca" && get("sslrootcert") === undefined) {
    found.push("sslmode=verify-ca wants sslrootcert: anyone can have a certificate of a public CA");
  }
  if (sslmode === "verify-full" && get("host") === undefined && get("hostaddr") !== undefined) {
    found.push("sslmode=verify-full wants a host, beside hostaddr: the certificate is for its name");
  }
  if (
    get("sslnegotiation") === "direct" &&
    (isWeak || (sslmode === undefined && get("sslrootcert") !== "system"))
  ) {
    found.push("sslnegotiation=direct wants an sslmode of require, verify-ca or verify-full");
  }
  if (get("channel_binding") === "require" && sslmode === "disable") {
    found.push("channel_binding=require wants TLS, which sslmode=disable rules out");
  }
  if ((get("sslcert") === undefined) !== (get("sslkey") === undefined)) {
    found.push("sslcert and sslkey want each other");
  }
  const versions = [
    get("ssl_min_protocol_version") ?? "TLSv1.2",
    get("ssl_max_protocol_version") ?? "TLSv1.3",
  ];
  if ((versions[0] as string) > (versions[1] as string)) {
    found.push("ssl_min_protocol_version is newer than ssl_max_protocol_version");
  }
  return found;
}

/** @returns the role's name where none is given. Undefined: as in a container whose user is a mere number. */
export function systemUser(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

/**
 * A URL with what the environment sets besides: from then on the environment does not count.
 *
 * @returns the same URL when that is nothing. Its mistakes are still in it.
 */
export function completeUrl(url: string, { given }: Reading): string {
  const own = parseConnectionUrl(url);
  const missing = [...given].filter(([name]) => !own.has(name) && !(name === "sslmode" && own.has("ssl")));
  if (missing.length === 0) return url;
  const query = missing.map(([name, { value }]) => `${name}=${encodeURIComponent(value)}`).join("&");
  return `${url}${url.includes("?") ? (url.endsWith("?") ? "" : "&") : "?"}${query}`;
}
