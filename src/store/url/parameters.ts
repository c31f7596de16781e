/** The values that are allowed: in words, and as a check. */
interface Pattern {
  readonly words: string;
  readonly test: (value: string) => boolean;
}

export interface UrlParameter {
  /** The variable of the environment that gives it where the URL does not, as with psql. */
  readonly env?: string;
  /** The file in `~/.postgresql` or `~` that it names where neither gives it and the file is there, as with psql. */
  readonly home?: string;
  /** Absent: any text. */
  readonly takes?: Pattern;
  /** What it does. Of what is refused altogether or but for one value: why, and what to do instead. */
  readonly help: string;
}

function oneOf(...words: string[]): Pattern {
  const list = words.length > 1 ? `one of ${words.join(", ")}` : `nothing but ${words[0]}`;
  return { words: list, test: (value) => words.includes(value) };
}

function number(words: string, pattern: RegExp): Pattern {
  return { words, test: (value) => pattern.test(value) };
}

const nothing: Pattern = { words: "nothing", test: () => false };
const seconds = number("a number of seconds, 1 to 9999", /^[1-9]\d{0,3}$/);
const tlsVersion = oneOf("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3");
const noGss = { takes: nothing, help: "the service does not speak GSSAPI: leave it out" };
const noOauth = {
  takes: nothing,
  help: "the service gets no tokens of OAuth: use another method of authentication",
};
const noKeys = { takes: nothing, help: "the driver knows no SCRAM keys: give the password, or a passfile" };

export const authMethods = ["password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none"] as const;

/** Every parameter that libpq of PostgreSQL 18 knows ("Parameter Key Words"): what it does here, or why it is refused. */
export const urlParameters = {
  host: {
    env: "PGHOST",
    takes: {
      words: "any but abstract sockets, which begin with @",
      test: (value) => value.split(",").every((host) => !host.startsWith("@")),
    },
    help: "A name, an address, or the folder of a Unix socket, which begins with `/`; several with commas. Unset: `localhost`.",
  },
  hostaddr: {
    env: "PGHOSTADDR",
    help: "The addresses to connect to, one for each host, whose names count for TLS and in a passfile.",
  },
  port: {
    env: "PGPORT",
    takes: {
      words: "a port, 1 to 65535, or one for each host with commas",
      test: (value) => value.split(",").every((port) => port === "" || isPort(port)),
    },
    help: "One for all hosts, or one for each. Unset: 5432.",
  },
  dbname: { env: "PGDATABASE", help: "The database. Unset: the name of the user." },
  user: { env: "PGUSER", help: "The role. Unset: the user that the service runs as." },
  password: { env: "PGPASSWORD", help: "The password, if the server asks for one." },
  passfile: {
    env: "PGPASSFILE",
    home: ".pgpass",
    help: "A file of passwords, in lines of `host:port:database:user:password`; read whenever a connection is opened. It must be its owner's alone (0600).",
  },
  require_auth: {
    env: "PGREQUIREAUTH",
    takes: {
      words: `some of ${authMethods.join(", ")}, with commas, all or none of them with a ! in front`,
      test: areAuthMethods,
    },
    help: "How the server may ask for the password. It gets none if it asks otherwise.",
  },
  channel_binding: {
    env: "PGCHANNELBINDING",
    takes: oneOf("disable", "prefer", "require"),
    help: "`require` refuses a server that does not prove, over TLS, that it knows the password (SCRAM-SHA-256-PLUS). Unset: `prefer`.",
  },
  connect_timeout: {
    env: "PGCONNECT_TIMEOUT",
    takes: seconds,
    help: "The longest that it may take to connect to one host, instead of `DATABASE_CONNECT_TIMEOUT`.",
  },
  client_encoding: {
    env: "PGCLIENTENCODING",
    takes: number("nothing but UTF8", /^(utf-?8|unicode)$/i),
    help: "the service reads UTF-8 alone: leave it out",
  },
  options: { env: "PGOPTIONS", help: "Options of the session, such as `-c%20search_path=jobs`." },
  application_name: { env: "PGAPPNAME", help: "The name in pg_stat_activity. Unset: the next one." },
  fallback_application_name: {
    help: "The same. Unset: `gomemory-status@host:pid`, the host's name and the id of the process.",
  },
  keepalives: {
    takes: oneOf("0", "1"),
    help: "Whether TCP keepalive probes detect dead connections. Unset: 1.",
  },
  keepalives_idle: {
    takes: seconds,
    help: "After how many seconds without a byte the first keepalive probe is sent. Unset: 1.",
  },
  keepalives_interval: { takes: seconds, help: "The seconds between two keepalive probes. Unset: 1." },
  keepalives_count: {
    takes: number("a number, 1 to 127", /^([1-9]\d?|1[01]\d|12[0-7])$/),
    help: "How many keepalive probes remain unanswered until the connection is lost. Unset: 10.",
  },
  tcp_user_timeout: { takes: oneOf("0"), help: "Node cannot set it: leave it out; keepalives are on" },
  replication: {
    takes: oneOf("false", "off", "no", "0"),
    help: "statuses cannot be read over a replication connection: leave it out",
  },
  gssencmode: {
    env: "PGGSSENCMODE",
    takes: oneOf("disable", "prefer"),
    help: "the service does not speak GSSAPI: leave it out, and use TLS",
  },
  sslmode: {
    env: "PGSSLMODE",
    takes: oneOf("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    help: "Whether to use TLS, and which certificates to accept; of no effect on Unix sockets. Unset: `prefer`, and `verify-full` with `sslrootcert=system`.",
  },
  requiressl: {
    env: "PGREQUIRESSL",
    takes: oneOf("0", "1"),
    help: "What it was before `sslmode`: 1 is `require`, 0 is `prefer`.",
  },
  sslnegotiation: {
    env: "PGSSLNEGOTIATION",
    takes: oneOf("postgres", "direct"),
    help: "`direct` saves a round trip with PostgreSQL 17 and later, and wants an `sslmode` of `require` or stricter.",
  },
  sslcompression: {
    env: "PGSSLCOMPRESSION",
    takes: oneOf("0"),
    help: "there is no compression in TLS any more: leave it out",
  },
  sslcert: { env: "PGSSLCERT", home: ".postgresql/postgresql.crt", help: "The certificate to show, in PEM." },
  sslkey: { env: "PGSSLKEY", home: ".postgresql/postgresql.key", help: "Its private key, in PEM." },
  sslkeylogfile: { takes: nothing, help: "the service writes no keys of TLS to a file: leave it out" },
  sslpassword: { help: "The passphrase of `sslkey`." },
  sslcertmode: {
    env: "PGSSLCERTMODE",
    takes: oneOf("disable", "allow"),
    help: "`disable` shows no certificate. (`require` is refused: Node does not tell whether the server has asked for one.)",
  },
  sslrootcert: {
    env: "PGSSLROOTCERT",
    home: ".postgresql/root.crt",
    help: "The CAs to trust, in PEM, or `system` for the system's. With them, `require` means `verify-ca`. Unset, with `verify-full`: those that Node knows.",
  },
  sslcrl: {
    env: "PGSSLCRL",
    home: ".postgresql/root.crl",
    help: "The list of revoked certificates, in PEM.",
  },
  sslcrldir: {
    env: "PGSSLCRLDIR",
    takes: nothing,
    help: "Node reads no folder of lists: name one file with sslcrl",
  },
  sslsni: {
    env: "PGSSLSNI",
    takes: oneOf("0", "1"),
    help: "Whether the server's name is sent, unencrypted, at the start of TLS (SNI). Unset: 1.",
  },
  requirepeer: {
    env: "PGREQUIREPEER",
    takes: nothing,
    help: "Node cannot tell who has opened a Unix socket: protect its folder",
  },
  ssl_min_protocol_version: { env: "PGSSLMINPROTOCOLVERSION", takes: tlsVersion, help: "Unset: `TLSv1.2`." },
  ssl_max_protocol_version: { env: "PGSSLMAXPROTOCOLVERSION", takes: tlsVersion, help: "Unset: the newest." },
  min_protocol_version: {
    env: "PGMINPROTOCOLVERSION",
    takes: oneOf("3.0"),
    help: "the driver speaks version 3.0 of the protocol: leave it out",
  },
  max_protocol_version: {
    env: "PGMAXPROTOCOLVERSION",
    takes: oneOf("3.0", "3.2", "latest"),
    help: "Of no effect: the service speaks version 3.0 of the protocol.",
  },
  krbsrvname: { env: "PGKRBSRVNAME", ...noGss },
  gsslib: { env: "PGGSSLIB", ...noGss },
  gssdelegation: { env: "PGGSSDELEGATION", takes: oneOf("0"), help: noGss.help },
  scram_client_key: noKeys,
  scram_server_key: noKeys,
  service: {
    env: "PGSERVICE",
    takes: nothing,
    help: "all settings come from the environment: write what the service's file has into the URL",
  },
  servicefile: {
    takes: nothing,
    help: "all settings come from the environment: write what the file has into the URL",
  },
  target_session_attrs: {
    env: "PGTARGETSESSIONATTRS",
    takes: oneOf("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    help: "Which of several hosts is wanted. The others are passed over. Unset: `any`.",
  },
  load_balance_hosts: {
    env: "PGLOADBALANCEHOSTS",
    takes: oneOf("disable", "random"),
    help: "`random` tries the hosts, and the addresses of each, in a random order.",
  },
  oauth_issuer: noOauth,
  oauth_client_id: noOauth,
  oauth_client_secret: noOauth,
  oauth_scope: noOauth,
} as const satisfies Record<string, UrlParameter>;

export type UrlParameterName = keyof typeof urlParameters;

/** Variables of libpq's that set no parameter of a URL, but the session's defaults. */
export const sessionVariables: Readonly<Record<string, string>> = {
  PGDATESTYLE: "DateStyle",
  PGTZ: "TimeZone",
  PGGEQO: "geqo",
};

export function isUrlParameter(name: string): name is UrlParameterName {
  return Object.hasOwn(urlParameters, name);
}

function isPort(text: string): boolean {
  return /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65535;
}

function areAuthMethods(value: string): boolean {
  const methods = value.split(",");
  const names = methods.map((method) => method.replace(/^!/, ""));
  const negated = methods.filter((method) => method.startsWith("!")).length;
  return (
    (negated === 0 || negated === methods.length) &&
    names.every((name) => (authMethods as readonly string[]).includes(name))
  );
}
