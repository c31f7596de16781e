import { hostname } from "node:os";
import { ConnectionUrlError } from "./connection-url.ts";
import { readDatabaseUrl, systemUser } from "./database-url.ts";
import { authMethods, type UrlParameterName } from "./parameters.ts";

export type AuthMethod = (typeof authMethods)[number];
export type SessionAttrs = "any" | "read-write" | "read-only" | "primary" | "standby" | "prefer-standby";

/** How to encrypt: not at all, only if the server offers it, or in any case. */
type Encryption = "none" | "offered" | "demanded";

/** One of the ways to connect to a database: a host, with TLS or without. */
export interface Way {
  /** Its name for TLS, passfiles and messages. */
  readonly host: string;
  /** Where to connect to: a name, an address, or the folder of a Unix socket. */
  readonly address: string;
  readonly port: number;
  readonly encryption: Encryption;
}

/** The certificates of both sides, and how TLS is negotiated. Files are read for each connection. */
export interface TlsSettings {
  /** Which certificate is accepted: any, one of the CAs, or one of the CAs that is for the host. */
  readonly verify: "none" | "ca" | "host";
  /** A file, or `system`. */
  readonly rootCert: string | undefined;
  readonly crl: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly passphrase: string | undefined;
  readonly sni: boolean;
  readonly minVersion: string | undefined;
  readonly maxVersion: string | undefined;
  /** Without an SSLRequest first. */
  readonly direct: boolean;
}

/** A database, and how to connect to it, read from a URL. Times in milliseconds. */
export interface Target {
  /** In the order in which they are tried. */
  readonly ways: readonly [Way, ...Way[]];
  readonly user: string;
  readonly database: string;
  readonly password: string | undefined;
  readonly passfile: string | undefined;
  readonly requireAuth: ReadonlySet<AuthMethod> | undefined;
  readonly channelBinding: "disable" | "prefer" | "require";
  readonly connectTimeout: number | undefined;
  readonly options: string | undefined;
  readonly applicationName: string;
  readonly keepAlive: { enable: boolean; initialDelay: number; interval: number; count: number };
  readonly tls: TlsSettings;
  readonly sessionAttrs: SessionAttrs;
  readonly random: boolean;
}

const defaultPort = 5432;

/**
 * @param url complete: the environment does not count here, so that it never concerns the embedded database.
 * @throws ConnectionUrlError
 */
export function readTarget(url: string): Target {
  const { given, mistakes } = readDatabaseUrl(url, {}, "the database's URL");
  if (mistakes.length > 0) throw new ConnectionUrlError(mistakes.join("; "));
  const get = (name: UrlParameterName) => given.get(name)?.value;
  const seconds = (name: UrlParameterName, preset: number) => Number(get(name) ?? preset) * 1_000;
  const user = get("user") ?? systemUser() ?? "";
  const rootCert = get("sslrootcert");
  const sslmode = get("sslmode") ?? (rootCert === "system" ? "verify-full" : "prefer");
  const showsCert = get("sslcertmode") !== "disable";
  return {
    ways: waysOf(get, sslmode),
    user,
    database: get("dbname") ?? user,
    password: get("password"),
    passfile: get("passfile"),
    requireAuth: authMethodsOf(get("require_auth")),
    channelBinding: (get("channel_binding") ?? "prefer") as Target["channelBinding"],
    connectTimeout: get("connect_timeout") === undefined ? undefined : seconds("connect_timeout", 0),
    options: get("options"),
    applicationName: get("application_name") ?? get("fallback_application_name") ?? instanceName(),
    // A server that has vanished without closing the connection is noticed after about ten seconds.
    keepAlive: {
      enable: get("keepalives") !== "0",
      initialDelay: seconds("keepalives_idle", 1),
      interval: seconds("keepalives_interval", 1),
      count: Number(get("keepalives_count") ?? 10),
    },
    tls: {
      verify: sslmode === "verify-full" ? "host" : rootCert === undefined ? "none" : "ca",
      rootCert,
      crl: get("sslcrl"),
      cert: showsCert ? get("sslcert") : undefined,
      key: showsCert ? get("sslkey") : undefined,
      passphrase: get("sslpassword"),
      sni: get("sslsni") !== "0",
      minVersion: get("ssl_min_protocol_version"),
      maxVersion: get("ssl_max_protocol_version"),
      direct: get("sslnegotiation") === "direct",
    },
    sessionAttrs: (get("target_session_attrs") ?? "any") as SessionAttrs,
    random: get("load_balance_hosts") === "random",
  };
}

/** The longest name in pg_stat_activity, in bytes (NAMEDATALEN). The server cuts what is longer, at its end. */
const longestName = 63;

/** @returns what tells this process from others in pg_stat_activity. The server takes printable ASCII alone. */
function instanceName(): string {
  const [before, after] = ["gomemory-status@", `:${process.pid}`];
  const host = hostname().replace(/[^\x21-\x7e]/g, "?");
  return `${before}${host.slice(0, longestName - before.length - after.length)}${after}`;
}

/** libpq's attempts for each mode, in their order. */
const encryptionsOf: Readonly<Record<string, readonly Encryption[]>> = {
  disable: ["none"],
  allow: ["none", "demanded"],
  prefer: ["offered", "none"],
};

function waysOf(get: (name: UrlParameterName) => string | undefined, sslmode: string): Target["ways"] {
  const names = get("host")?.split(",");
  const addresses = get("hostaddr")?.split(",") ?? names ?? [""];
  const ports = get("port")?.split(",") ?? [];
  const ways = addresses.flatMap((address, index) => {
    const host = names?.[index] || address || "localhost";
    const destination = address || host;
    const port = Number((ports.length === 1 ? ports[0] : ports[index]) || defaultPort);
    // Over a Unix socket libpq never encrypts, whatever the sslmode.
    const encryptions = destination.startsWith("/")
      ? ["none" as const]
      : (encryptionsOf[sslmode] ?? ["demanded"]);
    return encryptions.map((encryption) => ({ host, address: destination, port, encryption }));
  });
  return ways as [Way, ...Way[]];
}

function authMethodsOf(list: string | undefined): ReadonlySet<AuthMethod> | undefined {
  if (list === undefined) return undefined;
  const names = list.split(",");
  const isNegated = list.startsWith("!");
  return new Set(
    authMethods.filter((method) => (isNegated ? !names.includes(`!${method}`) : names.includes(method))),
  );
}
