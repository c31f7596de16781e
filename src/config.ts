import { count, duration, flag, type Kind, limit, oneOf, port, size, text, url } from "./setting-kinds.ts";

type Environment = Readonly<Record<string, string | undefined>>;

interface Setting<T> extends Kind<T> {
  /** As one would write it. Undefined: not set, and that means something. */
  readonly default: string | undefined;
  readonly help: string;
  /** Never shown, neither in errors nor in logs. */
  readonly secret?: true;
}

const databaseUrl = { ...url("postgres:", "postgresql:"), default: undefined, secret: true } as const;

/** Every variable of the environment that the service reads, in the order in which `--help` lists them. */
export const settings = {
  DATABASE_URL: {
    ...databaseUrl,
    help: "The database, as libpq writes it. Unset: a PostgreSQL of its own in .data/, but not in production.",
  },
  DATABASE_READ_URL: {
    ...databaseUrl,
    help: "A replica of the database, or a port that leads to several, to read from while it is recent enough.",
  },
  REPLICA_MAX_STALENESS: {
    ...duration,
    default: "1s",
    help: "The oldest that an answer of the replica may be. What is older, or missing, the database is asked for.",
  },
  DATABASE_POOL_SIZE: { ...count, default: "10", help: "Connections to the database (or replica) at most." },
  DATABASE_CONNECT_TIMEOUT: {
    ...duration,
    default: "1s",
    help: "The longest wait for a connection to the database.",
  },
  MIGRATE: { ...flag, default: "false", help: "Migrate the database when the service starts." },
  HOST: {
    ...text,
    default: undefined,
    help: "The address to listen on. Unset: all interfaces, IPv6 and IPv4.",
  },
  PORT: { ...port, default: "9000", help: "The port for every protocol. 0 takes a free one." },
  STATUS_TTL: {
    ...duration,
    default: "24h",
    help: "How long after its creation a status can be read, by the database's clock.",
  },
  BATCH_FLUSH_AT: {
    ...count,
    default: "16",
    help: "So many waiting ids are asked for at once, before the event loop's turn ends.",
  },
  BATCHES_IN_FLIGHT: {
    ...count,
    default: "2",
    help: "Statements that read statuses at the same time. What comes meanwhile shares the next one.",
  },
  REQUEST_TIMEOUT: {
    ...duration,
    default: "2s",
    help: "The longest that a call may take, whatever deadline its caller set.",
  },
  MAX_IN_FLIGHT: {
    ...limit,
    default: "1024",
    help: "Calls that are answered at the same time, over all protocols. More are shed.",
  },
  MAX_PER_TURN: {
    ...limit,
    default: "128",
    help: "Calls that are taken up in a turn of the event loop. More are shed, unless it is a burst (under 100ms).",
  },
  MAX_QUEUED: {
    ...limit,
    default: "512",
    help: "Ids that may wait until a statement can ask for them. Calls for more are shed.",
  },
  MAX_CONNECTIONS: {
    ...limit,
    default: "20000",
    help: "Connections from callers at most. More are closed at once.",
  },
  MAX_CONCURRENT_STREAMS: {
    ...limit,
    default: "256",
    help: "Calls at the same time on an HTTP/2 connection. Its client keeps the others back.",
  },
  MAX_STREAM_RESETS: {
    ...limit,
    default: "1000",
    help: "Calls that an HTTP/2 connection may cancel in a second before it is closed.",
  },
  MAX_HEADER_SIZE: { ...size, default: "16KiB", help: "The headers of a request at most." },
  MAX_MESSAGE_SIZE: {
    ...size,
    default: "4MiB",
    help: "The message of a request at most, before and after it is decompressed.",
  },
  PEER_TIMEOUT: {
    ...duration,
    default: "10s",
    help: "The longest that a peer may take to say what it wants, to send a request, and to take an answer.",
  },
  IDLE_TIMEOUT: {
    ...duration,
    default: "65s",
    help: "How long a connection may be idle: longer than load balancers keep theirs, usually 60s.",
  },
  SHUTDOWN_DELAY: {
    ...duration,
    default: undefined,
    help: "How long to say `not ready` and serve on before shutting down, so that load balancers notice. Unset: not at all.",
  },
  SHUTDOWN_TIMEOUT: {
    ...duration,
    default: "10s",
    help: "The longest that running calls may take to finish after SIGTERM or SIGINT.",
  },
  GRPC_LANE: {
    ...oneOf("on", "off"),
    default: "on",
    help: "The fast lane for unary gRPC calls. `off` leaves them all to Connect.",
  },
  METRICS: {
    ...oneOf("on", "off"),
    default: "on",
    help: "Whether to count calls, and to serve the counts at /metrics.",
  },
  LOG_LEVEL: {
    ...oneOf("fatal", "error", "warn", "info", "debug", "silent"),
    default: "info",
    help: "The least severe message to log.",
  },
  LOG_REQUESTS: { ...flag, default: "false", help: "Log a line for each call." },
  STATUS_URL: {
    ...url("http:", "https:"),
    default: "http://localhost:9000",
    help: "The server that `get` asks.",
  },
  NODE_ENV: {
    ...text,
    default: undefined,
    help: "`production` demands a DATABASE_URL.",
  },
} as const satisfies Record<string, Setting<unknown>>;

type Settings = typeof settings;
export type SettingName = keyof Settings;
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

/**
 * Reads the settings from the environment. A variable that is set to nothing counts as not set.
 *
 * @param opensDatabase in production that takes a DATABASE_URL: the one of the service's own is for trying it out.
 * @throws ConfigError that names every mistake: the variable, what it got, what it takes.
 */
export function readConfig(env: Environment, opensDatabase: boolean): Config {
  const mistakes: string[] = [];
  const values = Object.entries<Setting<unknown>>(settings).map(([name, setting]) => {
    const given = env[name] || setting.default;
    const value = given === undefined ? undefined : setting.read(given);
    if (given !== undefined && value === undefined) {
      const got = setting.secret
        ? "something else, not shown since it may hold a secret"
        : JSON.stringify(given);
      mistakes.push(`${name} takes ${setting.takes}: it got ${got}`);
    }
    return [name, value];
  });
  const demands =
    env.NODE_ENV === "production" ? "NODE_ENV=production" : env.DATABASE_READ_URL && "DATABASE_READ_URL";
  if (opensDatabase && demands && !env.DATABASE_URL) {
    mistakes.push(
      `DATABASE_URL takes ${settings.DATABASE_URL.takes}: it is not set, and ${demands} demands it`,
    );
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return Object.fromEntries(values);
}

/** The settings as they may be logged: of a secret, what is none. */
export function showConfig(config: Config): Record<string, unknown> {
  const { DATABASE_URL, DATABASE_READ_URL, STATUS_URL } = config;
  return {
    ...config,
    DATABASE_URL: DATABASE_URL === undefined ? "embedded" : withoutSecrets(DATABASE_URL),
    DATABASE_READ_URL: DATABASE_READ_URL && withoutSecrets(DATABASE_READ_URL),
    STATUS_URL: withoutSecrets(STATUS_URL),
  };
}

/** A URL without its password, and without its query: libpq takes passwords there. */
export function withoutSecrets(url: string): string {
  const { protocol, username, host, pathname } = new URL(url);
  // A password with a bare slash: what follows the slash counts as the path.
  if (pathname.includes("@")) return `${protocol}//...`;
  return `${protocol}//${username && `${username}@`}${host}${pathname === "/" ? "" : pathname}`;
}

/** Prefixes that are ours, so that an unknown variable under one of them is probably a mistake. */
const prefixes = [
  "BATCH",
  "DATABASE_",
  "REPLICA_",
  "STATUS_",
  "LOG_",
  "REQUEST_",
  "SHUTDOWN_",
  "MIGRATE_",
  "MAX_",
];

/**
 * Points out variables that look as if they were meant for us: under one of our prefixes, or a slip of the
 * keyboard away from a name of ours. Only a hint: Kubernetes, for one, sets variables of its own.
 *
 * @returns one line each, none when all is well.
 */
export function suspectVariables(env: Environment): string[] {
  const known = Object.keys(settings);
  return Object.keys(env)
    .filter((name) => !known.includes(name))
    .flatMap((name) => {
      const meant = known.find(
        (candidate) => candidate.length > 3 && isOneSlipAway(name.toUpperCase(), candidate),
      );
      if (meant !== undefined) return [`${name} is not a setting: did you mean ${meant}?`];
      if (prefixes.some((prefix) => name.startsWith(prefix))) return [`${name} is not a setting: see --help`];
      return [];
    });
}

/** Whether one letter more, less or other, or two swapped neighbours, or nothing but case, make the difference. */
function isOneSlipAway(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false;
  let start = 0;
  while (start < a.length && a[start] === b[start]) start++;
  const restA = a.slice(start);
  const restB = b.slice(start);
  const swapped = `${restA[1] ?? ""}${restA[0] ?? ""}${restA.slice(2)}`;
  return (
    restA.slice(1) === restB.slice(1) ||
    restA.slice(1) === restB ||
    restA === restB.slice(1) ||
    swapped === restB
  );
}
