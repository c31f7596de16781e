import type { Duplex } from "node:stream";
import pg from "pg";

/** How the service reaches its database, and how long it waits for it. Times in milliseconds. */
export interface PoolOptions {
  /** postgres:// URL, as libpq writes it. */
  readonly url: string;
  /** Connections at most. */
  readonly size: number;
  /** The longest that it may take to open a connection. */
  readonly connectTimeout: number;
  /** Told of connections that were lost while nobody used them. */
  readonly onLost: (error: Error) => void;
  /** Told when the server gives fewer connections than {@link size}, and what it says. */
  readonly onLimited?: (error: unknown) => void;
}

/** What connections of one pool know of each other. */
interface Trust {
  /** When the server last ended all its connections, as far as is known. What was opened before is not used again. */
  since: number;
}

type ConnectionConfig = pg.ClientConfig & { readonly trust: Trust };

/** A connection that somebody has for himself, until it is released. */
export type PooledConnection = Connection & pg.PoolClient;

/**
 * A pool that outlives its database: it opens new connections as soon as there is something to connect to. It asks for
 * no `statement_timeout`, which poolers refuse: whoever starts a statement cancels it when nobody waits any more.
 */
export function createPool(options: PoolOptions): pg.Pool {
  const config: pg.PoolConfig & ConnectionConfig = {
    connectionString: options.url,
    application_name: "gomemory-status",
    max: options.size,
    connectionTimeoutMillis: options.connectTimeout,
    // To a far database, a new connection takes longer than a probe may: one that probes use now and then stays open.
    idleTimeoutMillis: 60_000,
    // A peer that vanished without a word is noticed after about ten seconds.
    keepAlive: true,
    keepAliveInitialDelayMillis: 1_000,
    trust: { since: 0 },
    Client: Connection as unknown as NonNullable<pg.PoolConfig["Client"]>,
  };
  const pool = new pg.Pool(config);
  // Without a listener, the first connection lost while idle would end the process.
  pool.on("error", options.onLost);
  return pool;
}

/** A client that knows when it has become useless. */
export class Connection extends pg.Client {
  readonly #openedAt = performance.now();
  readonly #trust: Trust;
  #lost = false;

  constructor(config: ConnectionConfig) {
    super(config);
    this.#trust = config.trust;
    guardParser(this.connection as unknown as Wire);
    // The pool listens while the client is idle, and nobody while it is checked out.
    this.on("error", (error) => this.#lose(error));

    const connect = this.connect.bind(this) as (opened: (error?: Error) => void) => void;
    const closing = (opened: (error?: Error) => void): void =>
      connect((error) => {
        // The pool forgets a client that could not be opened; the database may not know that it failed.
        if (error) this.close();
        opened(error);
      });
    this.connect = closing as typeof this.connect;

    const query = this.query.bind(this) as (...args: unknown[]) => unknown;
    const watched = (...args: unknown[]): unknown => {
      const result = query(...args);
      if (!(result instanceof Promise)) return result;
      return result.catch((error: unknown) => {
        if (isConnectionLost(error)) this.lose(error);
        throw error;
      });
    };
    this.query = watched as typeof this.query;
  }

  /** Whether it is not to be used again. */
  get lost(): boolean {
    return this.#lost || this.#openedAt < this.#trust.since;
  }

  /** It is bad, and is closed. @param error why: some errors end the others, too. */
  lose(error: unknown): void {
    this.#lose(error);
    this.close();
  }

  /** It leads where we do not want to be, or does not answer, which says nothing about the others: it is not used again. */
  retire(): void {
    this.#lost = true;
  }

  /**
   * Closes it without a farewell, for which a stopped server would keep us waiting. A fatal error comes before the
   * socket closes: released in between, the client would be handed out once more. One that has been asked to end is not.
   */
  close(): void {
    this.#lost = true;
    void this.end();
    (this.connection as unknown as Wire).stream.destroy();
  }

  #lose(error: unknown): void {
    // What comes of a connection that we have given up ourselves is no news.
    if (!this.#lost && endsAllConnections(error)) this.#trust.since = performance.now();
    this.#lost = true;
  }
}

/**
 * Whether an error means that the connection is bad, and not just the query: the driver's own errors do (they have no
 * severity), and so do the server's FATAL and PANIC. An ERROR never does: an engine that loses one of its servers says
 * 08006 or 57P01 as an ERROR, and the session lives on. Servers may translate the word; then the SQLSTATE has to tell.
 */
export function isConnectionLost(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError) || error.severity === undefined) return true;
  if (error.severity === "ERROR") return false;
  return error.severity === "FATAL" || error.severity === "PANIC" || /^(08|57P)/.test(error.code ?? "");
}

/**
 * Whether the server, or the way to it, has ended all connections: it is shutting down or starting (57P01 to 57P03; it
 * says the same when it ends one on an administrator's account), one of its processes has crashed, or the network says
 * that there is no way. Not: a time of ours that has passed, an answer that makes no sense, a session's own timeout.
 */
function endsAllConnections(error: unknown): boolean {
  const { code = "", message } = error as Partial<pg.DatabaseError>;
  return (
    /^(57P0[1-3]|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/.test(code) ||
    message === "Connection terminated unexpectedly"
  );
}

/** What pg's connection has besides what its types tell. */
interface Wire {
  readonly stream: Duplex;
  attachListeners(stream: Duplex): void;
}

/** Bytes that are not PostgreSQL's make pg's parser throw where nobody can catch it: here they cost the connection. */
function guardParser(connection: Wire): void {
  const attach = connection.attachListeners.bind(connection);
  connection.attachListeners = (stream) => {
    attach(stream);
    const [parse] = stream.listeners("data");
    stream.removeAllListeners("data").on("data", (chunk) => {
      try {
        parse?.(chunk);
      } catch (error) {
        stream.destroy(error as Error);
      }
    });
  };
}
