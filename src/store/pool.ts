import pg from "pg";

/** How the service reaches its database, and how long it waits for it. Times in milliseconds. */
export interface PoolOptions {
  /** postgres:// URL, as libpq writes it. */
  readonly url: string;
  /** Connections at most. */
  readonly size: number;
  /** The longest wait for a connection: to be opened, or to be given back by another caller. */
  readonly connectTimeout: number;
  /** After this the database itself ends a statement. 0 sets no limit. */
  readonly statementTimeout: number;
  /** Told of connections that were lost while nobody used them. */
  readonly onLost: (error: Error) => void;
}

/** A pool that outlives its database: it opens new connections as soon as there is something to connect to. */
export function createPool(options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    application_name: "gomemory-status",
    max: options.size,
    connectionTimeoutMillis: options.connectTimeout,
    // A peer that vanished without a word is noticed after about ten seconds.
    keepAlive: true,
    keepAliveInitialDelayMillis: 1_000,
    ...(options.statementTimeout > 0 && { statement_timeout: options.statementTimeout }),
    Client: Connection,
  });
  // Without a listener, the first connection lost while idle would end the process.
  pool.on("error", options.onLost);
  return pool;
}

/** A client that knows when it has become useless. */
export class Connection extends pg.Client {
  #lost = false;

  constructor(config?: pg.ClientConfig) {
    super(config);
    // The pool listens while the client is idle, and nobody while it is checked out.
    this.on("error", () => {
      this.#lost = true;
    });

    const query = this.query.bind(this) as (...args: unknown[]) => unknown;
    const watched = (...args: unknown[]): unknown => {
      const result = query(...args);
      if (!(result instanceof Promise)) return result;
      return result.catch((error: unknown) => {
        if (isConnectionLost(error)) this.lose();
        throw error;
      });
    };
    this.query = watched as typeof this.query;
  }

  get lost(): boolean {
    return this.#lost;
  }

  /**
   * Gives the connection up. A fatal error comes before the socket closes: released in between, the client would be
   * handed out once more. One that has been asked to end is not.
   */
  lose(): void {
    this.#lost = true;
    void this.end();
  }
}

/**
 * Whether an error means that the connection is bad, and not just the query: the driver's own errors do, and
 * so do the server's FATAL and PANIC (class 08, and 57P01 to 57P05, in servers that translate the severity).
 */
export function isConnectionLost(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return true;
  return error.severity === "FATAL" || error.severity === "PANIC" || /^(08|57P)/.test(error.code ?? "");
}
