import type { Duplex } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";

/** How the service reaches its database, and how long it waits for it. Times in milliseconds. */
export interface PoolOptions {
  /** postgres:// URL, as libpq writes it. */
  readonly url: string;
  /** Connections at most. */
  readonly size: number;
  /** The longest wait for a connection: to be opened, or to be given back by another caller. */
  readonly connectTimeout: number;
  /** Told of connections that were lost while nobody used them. */
  readonly onLost: (error: Error) => void;
}

/** What connections of one pool know of each other. */
interface Trust {
  /** When one of them was last found to be bad. Whatever was opened before may be so, too: a restart ends them all. */
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

/** How long, in milliseconds, a server that takes no connections is asked again: after a crash it is soon back. */
const restartPatience = 250;
const restartPause = 25;

/**
 * Takes a connection that is not known to be bad.
 *
 * @throws what the driver says, after {@link restartPatience} if the server looks as if it were restarting.
 */
export async function takeConnection(pool: pg.Pool): Promise<PooledConnection> {
  const giveUpAt = performance.now() + restartPatience;
  for (;;) {
    try {
      const client = (await pool.connect()) as PooledConnection;
      if (!client.lost) return client;
      releaseConnection(client);
    } catch (error) {
      if (performance.now() > giveUpAt || !isPassing(error)) throw error;
      await pause(restartPause);
    }
  }
}

/** Nobody listens, the server hangs up (of that the driver gives no code), is stopping or starting. */
function isPassing(error: unknown): boolean {
  const { code = "" } = error as { code?: string };
  return /^(|ECONNREFUSED|ECONNRESET|57P0[1-3])$/.test(code);
}

/** Gives a connection back to its pool, which keeps it unless it is bad. */
export function releaseConnection(client: PooledConnection): void {
  if (client.lost) client.close();
  client.release();
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
    this.on("error", () => this.#distrust());

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
        if (isConnectionLost(error)) this.lose();
        throw error;
      });
    };
    this.query = watched as typeof this.query;
  }

  /** Whether it is bad, or was opened before another one was found to be so. */
  get lost(): boolean {
    return this.#lost || this.#openedAt < this.#trust.since;
  }

  /** It is bad: it is closed, and those that were opened before it was noticed are trusted no more. */
  lose(): void {
    this.#distrust();
    this.close();
  }

  /** It leads where we do not want to be, and that says nothing about the others: it is not used again. */
  retire(): void {
    this.#lost = true;
  }

  /**
   * Closes it without a farewell, for which a stopped server would keep us waiting. A fatal error comes before the
   * socket closes: released in between, the client would be handed out once more. One that has been asked to end is not.
   */
  close(): void {
    void this.end();
    (this.connection as unknown as Wire).stream.destroy();
  }

  #distrust(): void {
    this.#lost = true;
    this.#trust.since = performance.now();
  }
}

/**
 * Whether an error means that the connection is bad, and not just the query: the driver's own errors do (they have no
 * severity), and so do the server's FATAL and PANIC (class 08, and 57P01 to 57P05, in servers that translate it).
 */
export function isConnectionLost(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError) || error.severity === undefined) return true;
  return error.severity === "FATAL" || error.severity === "PANIC" || /^(08|57P)/.test(error.code ?? "");
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
