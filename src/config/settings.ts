import {
  count,
  databaseUrl,
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
  /** As one would write it. Undefined: not set, and that means something. */
  readonly default: string | undefined;
  readonly help: string;
  /** Never shown, neither in errors nor in logs. */
  readonly secret?: true;
}

/** Every variable of the environment that the service reads, in the order in which `--help` lists them. */
export const settings = {
  DATABASE_URL: {
    ...databaseUrl,
    default: undefined,
    help: "The database, as psql takes it: see docs/database-url.md. Unset: a PostgreSQL of its own in .data/, but not in production.",
  },
  DATABASE_READ_URL: {
    ...databaseUrl,
    default: undefined,
    help: "A replica of the database, or a port that leads to several, to read from while it is recent enough.",
  },
  REPLICA_MAX_STALENESS: {
    ...duration,
    default: "1s",
    help: "The oldest that an answer of the replica may be. What is older, or missing, the database is asked for.",
  },
  DATABASE_POOL_SIZE: {
    ...count,
    default: "10",
    help: "Connections to the database, and to the replica, at most. Statements and probes take turns.",
  },
  DATABASE_CONNECT_TIMEOUT: {
    ...duration,
    default: "1s",
    help: "The longest that it may take to connect to one host of the database.",
  },
  MIGRATE: {
    ...flag,
    default: "false",
    help: "Migrate the database when the service starts, or as soon as it answers. The service is not ready before.",
  },
  HOST: {
    ...host,
    default: undefined,
    help: "The address to listen on. Unset: all interfaces, IPv6 and IPv4.",
  },
  PORT: { ...port, default: "9000", help: "The port for every protocol. 0 takes a free one." },
  TLS_CERT: {
    ...path("a certificate in PEM"),
    default: undefined,
    help: "The certificate to serve TLS with, and those that lead to its CA. Unset: no TLS.",
  },
  TLS_KEY: {
    ...path("the private key of TLS_CERT, in PEM and without a passphrase"),
    default: undefined,
    help: "The private key of TLS_CERT.",
  },
  TLS_CLIENT_CA: {
    ...path("CA certificates in PEM"),
    default: undefined,
    help: "Whoever connects must have a certificate of one of these CAs. Unset: nobody needs one.",
  },
  AUTH_TOKENS_FILE: {
    ...path("a file with a line name:sha256 for each token"),
    default: undefined,
    help: "Who may ask: those who bear one of these tokens. Unset: everybody.",
  },
  CORS_ORIGINS: {
    ...origins,
    default: undefined,
    help: "Pages of these origins may ask from a browser. `*`: of all origins. Unset: of none but the service's own.",
  },
  BATCH_FLUSH_AT: {
    ...count,
    default: "32",
    help: "So many waiting ids are asked for at once, before the event loop's turn ends.",
  },
  BATCHES_IN_FLIGHT: {
    ...count,
    default: "2",
    help: "Statements that read statuses at the same time: one leaves at once, another when BATCH_FLUSH_AT ids wait.",
  },
  REQUEST_TIMEOUT: {
    ...duration,
    default: "2s",
    help: "The longest that a call may take, whatever deadline its caller set.",
  },
  MAX_IN_FLIGHT: {
    ...limit,
    default: "4096",
    help: "Calls that are answered at the same time, over all protocols. More are shed.",
  },
  MAX_WHEN_BUSY: {
    ...limit,
    default: "128",
    help: "The same, once the event loop has had no rest for 200ms: more would bring later answers, and no more of them.",
  },
  MAX_QUEUED: {
    ...limit,
    default: "2048",
    help: "Ids that may wait until a statement can ask for them. Calls for more are shed.",
  },
  MAX_WAITING: {
    ...limit,
    default: "10000",
    help: "Calls that are held open at the same time: health watches and reflection streams. More are shed.",
  },
  MAX_CONNECTIONS: {
    ...limit,
    default: "20000",
    help: "Connections from callers at most. Above 80% of them the oldest silent one (no byte yet) is closed; more are closed at once.",
  },
  MAX_CONCURRENT_STREAMS: {
    ...limit,
    default: "100",
    help: "Calls at the same time on an HTTP/2 connection, whose client keeps the others back, and begun in one turn of the event loop.",
  },
  MAX_STREAM_RESETS: {
    ...limit,
    default: "200",
    help: "Calls that an HTTP/2 connection may cancel in a second before it is closed.",
  },
  MAX_HEADER_SIZE: {
    ...size,
    default: "16KiB",
    help: "The names and values of a request's headers at most, in 1,024 fields at most. Others get 431.",
  },
  MAX_MESSAGE_SIZE: {
    ...size,
    default: "64KiB",
    help: "The message of a request at most, before and after it is decompressed. A call needs 38 bytes.",
  },
  MAX_RECEIVING_SIZE: {
    ...size,
    default: "64MiB",
    help: "The messages of all requests that are under way at most, but for 16KiB of each. Requests for more are shed.",
  },
  PEER_TIMEOUT: {
    ...duration,
    default: "10s",
    help: "The longest that a caller may take to send a request, or its TLS handshake, from its first byte on, and to take an answer.",
  },
  IDLE_TIMEOUT: {
    ...duration,
    default: "65s",
    help: "How long a connection may be without a call, before its first one too: longer than load balancers keep theirs, usually 60s.",
  },
  KEEPALIVE_TIME: {
    ...duration,
    default: "30s",
    help: "How long an HTTP/2 connection with open calls may be quiet before the caller gets a PING. Lower finds dead callers sooner.",
  },
  KEEPALIVE_TIMEOUT: {
    ...duration,
    default: "10s",
    help: "The longest that a caller may take to answer that PING. Then its connection is closed.",
  },
  MAX_CONNECTION_AGE: {
    ...duration,
    default: "30m",
    help: "The age, give or take 10%, at which a connection takes no more calls, so that callers move to new instances.",
  },
  MAX_CONNECTION_AGE_GRACE: {
    ...duration,
    default: "30s",
    help: "How long calls that are held open on such a connection may go on. Then they end with GOING_AWAY.",
  },
  SHUTDOWN_DELAY: {
    ...duration,
    default: undefined,
    help: "How long to say `not ready` and serve on before shutting down, so that load balancers notice. Unset: not at all.",
  },
  SHUTDOWN_TIMEOUT: {
    ...duration,
    default: "10s",
    help: "The longest that running calls may take to finish after a signal to stop.",
  },
  GRPC_FAST_PATH: {
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
    ...serverUrl,
    default: "http://localhost:9000",
    help: "The server that `get` asks.",
  },
  STATUS_TOKEN: {
    ...token,
    default: undefined,
    secret: true,
    help: "The bearer token that `get` shows.",
  },
  STATUS_CLIENT_CERT: {
    ...path("a certificate in PEM"),
    default: undefined,
    help: "The certificate that `get` shows over TLS, and those that lead to its CA.",
  },
  STATUS_CLIENT_KEY: {
    ...path("the private key of STATUS_CLIENT_CERT, in PEM and without a passphrase"),
    default: undefined,
    help: "The private key of STATUS_CLIENT_CERT.",
  },
  NODE_ENV: {
    ...text,
    default: undefined,
    help: "`production` demands a DATABASE_URL.",
  },
} as const satisfies Record<string, Setting<unknown>>;

export type SettingName = keyof typeof settings;

/** Settings of earlier versions, and what to do about each: a variable that has no effect must not be ignored. */
export const removedSettings: Readonly<Record<string, string>> = {
  STATUS_TTL:
    "STATUS_TTL was removed (unset it): a status is valid for 24 hours, a rule of the contract that the database enforces",
  GRPC_LANE: "GRPC_LANE is now GRPC_FAST_PATH: set that instead",
};
