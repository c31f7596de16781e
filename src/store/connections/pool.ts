import pg from "pg";
import { Connection, connectionConfig } from "./connection.ts";
import type { Hosts } from "./hosts.ts";

/** How the service connects to its database. Times in milliseconds. */
export interface PoolOptions {
  /** postgres:// URL, as libpq writes it, and complete: variables such as PGSSLMODE do not count here. */
  readonly url: string;
  /** The limit of connections. */
  readonly size: number;
  /** The longest that it may take to open a connection to one host, unless the URL has a `connect_timeout`. */
  readonly connectTimeout: number;
  /** Called when a connection was lost while it was idle. */
  readonly onLost: (error: Error) => void;
  /** Called when the server allows fewer connections than {@link size}. @param error the server's. */
  readonly onLimited?: (error: unknown) => void;
}

/** A connection for one user at a time, until it is released. */
export type PooledConnection = Connection & pg.PoolClient;

/**
 * A pool that survives outages: it opens new connections as soon as the database takes them. It sets no `statement_timeout`,
 * which poolers refuse: a statement is cancelled when no call waits for it any more.
 */
export function createPool(options: PoolOptions): { pool: pg.Pool; hosts: Hosts } {
  const config = connectionConfig(options.url, options.connectTimeout);
  const pool = new pg.Pool({
    ...config,
    max: options.size,
    // To a distant database, a new connection may take longer than a probe's timeout: this keeps one open between probes.
    idleTimeoutMillis: 60_000,
    Client: Connection as unknown as NonNullable<pg.PoolConfig["Client"]>,
  });
  // Without a listener, the first connection lost while idle would end the process.
  pool.on("error", options.onLost);
  return { pool, hosts: config.hosts };
}
