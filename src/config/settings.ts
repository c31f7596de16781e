import {
  count,
  databaseUrl,
  databaseUrlFile,
  duration,
  flag,
  host,
  type Kind,
  limit,
  oneOf,
  origins,
  path,
  port,
  serverUrl,
  size,
  text,
  token,
} from "./kinds.ts";

export interface Setting<T> extends Kind<T> {
  /** As an operator would write it. Undefined: the setting has no value unless it is set. */
  readonly default: string | undefined;
  /** What it limits or selects; what happens beyond the limit; when to change it. For `--help` and the documentation. */
  readonly help: string;
  /** The value appears neither in errors nor in logs. */
  readonly secret?: true;
  /** The default was chosen by measurement: listed apart, since few deployments gain by another value. */
  readonly tuning?: true;
}

/** Every variable of the environment that the service reads, in the order in which `--help` lists them. */
export const settings = {
  DATABASE_URL: {
    ...databaseUrl,
    default: undefined,
    help: "PostgreSQL database that holds the statuses, as psql takes it: see docs/operate/database-url.md. Unset, outside production: a PostgreSQL of its own in .data/.",
  },
  DATABASE_URL_FILE: {
    ...databaseUrlFile("DATABASE_URL_FILE"),
    default: undefined,
    help: "File with the URL, instead of DATABASE_URL. The file is watched: a new password, or any other change of the URL, needs no restart.",
  },
  DATABASE_READ_URL: {
    ...databaseUrl,
    default: undefined,
    help: "Replica of the database to read from, or a read-only port that leads to several. Set it to take reads off the primary. Unset: the primary answers every read.",
  },
  DATABASE_READ_URL_FILE: {
    ...databaseUrlFile("DATABASE_READ_URL_FILE"),
    default: undefined,
    help: "File with the URL of the replica, instead of DATABASE_READ_URL. It is watched, too.",
  },
  REPLICA_MAX_STALENESS: {
    ...duration,
    default: "1s",
    help: "Maximum staleness of the replica's answers. The primary is asked for what is older or missing. Raise it above the time that a failover takes, for reads to survive one.",
  },
  DATABASE_POOL_SIZE: {
    ...count,
    default: "10",
    help: "Maximum number of connections to the primary, and as many to the replica. Statements beyond it wait for a free connection. Lower it where the database has few connections to give.",
  },
  DATABASE_CONNECT_TIMEOUT: {
    ...duration,
    default: "1s",
    help: "Maximum time to connect to one host of the database. Then the next host is tried, or the attempt fails. Raise it for a distant database.",
  },
  DATABASE_CONNECTION_MAX_AGE: {
    ...duration,
    default: "30m",
    help: "Age, plus or minus 10%, at which a connection to the database is replaced by a new one, for which the host's name is resolved anew. No statement is interrupted. Lower it to follow changes of DNS sooner.",
  },
  PREPARED_STATEMENTS: {
    ...oneOf("auto", "on", "off"),
    default: "auto",
    help: "Whether read statements are prepared, which takes the database less than half of the time. `auto`: unless a connection pooler does not keep them, which is found out and costs no call. `on`: whatever a pooler does. `off`: never.",
  },
  MIGRATE: {
    ...flag,
    default: "false",
    help: "Whether the service migrates the schema when it starts, or as soon as the database answers. It is not ready before.",
  },
  PURGE: {
    ...oneOf("on", "off"),
    default: "off",
    help: "Whether the service deletes jobs that are older than 25 hours, in the background, one instance at a time. Its role needs gomemory_purger: see docs/operate/retention.md. Leave it off where a timer runs `gomemory-status purge`.",
  },
  PURGE_INTERVAL: {
    ...duration,
    default: "10m",
    help: "Time between two purges of an instance with PURGE=on, plus or minus 10%. Lower it to delete fewer rows at a time.",
  },
  HOST: {
    ...host,
    default: undefined,
    help: "Address to listen on. Unset: all interfaces, IPv6 and IPv4.",
  },
  PORT: { ...port, default: "9000", help: "Port for every protocol. 0 selects a free one." },
  TLS_CERT: {
    ...path("a certificate in PEM"),
    default: undefined,
    help: "File with the certificate of the server, followed by its intermediate certificates. Unset: no TLS.",
  },
  TLS_KEY: {
    ...path("the private key of TLS_CERT, in PEM and without a passphrase"),
    default: undefined,
    help: "File with the private key of TLS_CERT.",
  },
  TLS_CLIENT_CA: {
    ...path("CA certificates in PEM"),
    default: undefined,
    help: "File with the CAs of client certificates. A client without a certificate of one of them is refused. Unset: clients need no certificate.",
  },
  AUTH_TOKENS_FILE: {
    ...path("a file with a line name:sha256 for each token"),
    default: undefined,
    help: "File with the digests of the bearer tokens that are accepted. A call without one of them is refused. Unset: no call needs a token.",
  },
  CORS_ORIGINS: {
    ...origins,
    default: undefined,
    help: "Origins whose pages may call the service from a browser; `*` means every origin. Unset: pages of other origins are refused.",
  },
  BATCH_FLUSH_AT: {
    ...count,
    default: "32",
    tuning: true,
    help: "Number of waiting ids at which a statement is sent at once, before the event loop's turn ends.",
  },
  BATCHES_IN_FLIGHT: {
    ...count,
    default: "2",
    tuning: true,
    help: "Maximum number of read statements in flight. The first is sent at once, another when BATCH_FLUSH_AT ids wait.",
  },
  REQUEST_TIMEOUT: {
    ...duration,
    default: "2s",
    help: "Maximum duration of a call that is not held, and of each read of one that is, whatever deadline its caller set. Beyond it the call fails with DEADLINE_EXCEEDED. `get` waits no longer either.",
  },
  MAX_IN_FLIGHT: {
    ...limit,
    default: "4096",
    help: "Maximum number of calls in flight, over all protocols. A batch counts as one call for every 32 of its ids. Calls beyond it are shed, and batches beyond half of it unless there is only one. Lower it to bound memory further.",
  },
  MAX_WHEN_BUSY: {
    ...limit,
    default: "128",
    tuning: true,
    help: "Maximum number of calls in flight once the event loop has been saturated for 200ms. Calls beyond it are shed, since they would make answers later and not more; batches as for MAX_IN_FLIGHT.",
  },
  MAX_QUEUED: {
    ...limit,
    default: "2048",
    help: "Maximum number of ids that wait for a statement while the database is slow. Calls beyond it are shed. Lower it to shed sooner.",
  },
  MAX_WAIT: {
    ...duration,
    default: "30s",
    help: "Maximum time that a call may wait for a status to become final. A longer wait is shortened. Raise it where no proxy on the way ends quiet requests sooner.",
  },
  MAX_WAITING: {
    ...limit,
    default: "10000",
    help: "Maximum number of held calls: waits, watches, event streams, health watches, reflection streams. Calls beyond it are shed; those of one token beyond half of it.",
  },
  MAX_WATCHED: {
    ...limit,
    default: "50000",
    help: "Maximum number of different ids that held calls wait for. Calls beyond it are shed; those of one token beyond half of it. Lower it to spare the database, which is asked for each of them up to four times a second.",
  },
  MAX_WATCHED_PAIRS: {
    ...limit,
    default: "200000",
    help: "Maximum number of ids that held calls wait for, each counted once for every call. Calls beyond it are shed; those of one token beyond half of it. Lower it to bound memory further.",
  },
  MAX_CONNECTIONS: {
    ...limit,
    default: "20000",
    help: "Maximum number of client connections. Connections beyond it are closed; above 80%, each new one closes the oldest that has sent no byte. Raise `ulimit -n` with it.",
  },
  MAX_CONCURRENT_STREAMS: {
    ...limit,
    default: "100",
    help: "Maximum number of concurrent calls on an HTTP/2 connection, of which 80% may be held. Clients delay calls beyond it; a connection that cancels calls to begin more in one turn of the event loop is closed.",
  },
  MAX_STREAM_RESETS: {
    ...limit,
    default: "200",
    tuning: true,
    help: "Maximum number of calls that an HTTP/2 connection may cancel in a second. Beyond it the connection is closed.",
  },
  MAX_HEADER_SIZE: {
    ...size,
    default: "16KiB",
    help: "Maximum size of a request's header names and values, in at most 1,024 fields. Larger headers are refused with 431. Raise it for clients with long tokens or cookies.",
  },
  MAX_MESSAGE_SIZE: {
    ...size,
    default: "64KiB",
    help: "Maximum size of a request's message, before and after decompression. Larger messages are refused. A call for one status needs 38 bytes.",
  },
  MAX_RECEIVING_SIZE: {
    ...size,
    default: "64MiB",
    tuning: true,
    help: "Maximum size of all request messages that are being received, without the first 16KiB of each. Requests beyond it are shed.",
  },
  PEER_TIMEOUT: {
    ...duration,
    default: "10s",
    help: "Maximum time for a client to send a request or to complete its TLS handshake, from the first byte on, and to receive an answer. Slower clients are disconnected. The client of a watch has 30 seconds to read before that.",
  },
  IDLE_TIMEOUT: {
    ...duration,
    default: "65s",
    help: "Maximum time that a connection stays open without a call, also before its first one. Keep it longer than load balancers keep their connections, usually 60s.",
  },
  KEEPALIVE_TIME: {
    ...duration,
    default: "30s",
    help: "Time without traffic after which the client of an HTTP/2 connection with open calls is sent a PING. Lower it to detect dead clients sooner.",
  },
  KEEPALIVE_TIMEOUT: {
    ...duration,
    default: "10s",
    help: "Maximum time for the client to answer that PING. Then its connection is closed.",
  },
  MAX_CONNECTION_AGE: {
    ...duration,
    default: "30m",
    help: "Age, plus or minus 10%, at which a connection takes no more calls, so that clients reconnect, to new instances too.",
  },
  MAX_CONNECTION_AGE_GRACE: {
    ...duration,
    default: "30s",
    help: "Maximum time that held calls may continue on such a connection. Then they end with GOING_AWAY.",
  },
  SHUTDOWN_DELAY: {
    ...duration,
    default: undefined,
    help: "Time between the report of `not ready` and the end of the listener, in which calls are still served. Set it longer than load balancers take to notice. Unset: none.",
  },
  SHUTDOWN_TIMEOUT: {
    ...duration,
    default: "10s",
    help: "Maximum time for calls in flight to finish after a termination signal. Then their connections are closed.",
  },
  GRPC_FAST_PATH: {
    ...oneOf("on", "off"),
    default: "on",
    tuning: true,
    help: "Fast path for unary and server-streaming gRPC calls. `off` leaves them to Connect's adapter, which gives the same answers more slowly.",
  },
  METRICS: {
    ...oneOf("on", "off"),
    default: "on",
    help: "Whether calls are measured, and the measurements served at /metrics.",
  },
  LOG_LEVEL: {
    ...oneOf("fatal", "error", "warn", "info", "debug", "silent"),
    default: "info",
    help: "Least severe level that is logged.",
  },
  LOG_REQUESTS: {
    ...flag,
    default: "false",
    help: "Whether every call is logged. Otherwise only those are that fail by the service's fault.",
  },
  STATUS_URL: {
    ...serverUrl,
    default: "http://localhost:9000",
    help: "Base URL of the server that `get` calls.",
  },
  STATUS_TOKEN: {
    ...token,
    default: undefined,
    secret: true,
    help: "Bearer token that `get` sends.",
  },
  STATUS_CLIENT_CERT: {
    ...path("a certificate in PEM"),
    default: undefined,
    help: "File with the client certificate that `get` presents over TLS, followed by its intermediate certificates.",
  },
  STATUS_CLIENT_KEY: {
    ...path("the private key of STATUS_CLIENT_CERT, in PEM and without a passphrase"),
    default: undefined,
    help: "File with the private key of STATUS_CLIENT_CERT.",
  },
  NODE_ENV: {
    ...text,
    default: undefined,
    help: "`production` requires a DATABASE_URL or a DATABASE_URL_FILE.",
  },
} as const satisfies Record<string, Setting<unknown>>;

export type SettingName = keyof typeof settings;

/** Settings of earlier versions, and what to do about each: a variable that has no effect must not be ignored. */
export const removedSettings: Readonly<Record<string, string>> = {
  STATUS_TTL:
    "STATUS_TTL was removed (unset it): a status is valid for 24 hours, a rule of the contract that the database enforces",
  GRPC_LANE: "GRPC_LANE is now GRPC_FAST_PATH: set that instead",
};
