import pg from "pg";
import { Connection, connectionConfig } from "./connection.ts";
import type { Hosts } from "./hosts.ts";

/** How the service reaches its database, and how long it waits for it. Times in milliseconds. */
export interface PoolOptions {
  /** postgres:// URL, as libpq writes it, and complete: variables such as PGSSLMODE do not count here. */
  readonly url: string;
  /** Connections at most. */
  readonly size: number;
  /** The longest that it may take to open a connection to one host, unless the URL says how long. */
  readonly connectTimeout: number;
  /** Told of connections that were lost while nobody used them. */
  readonly onLost: (error: Error) => void;
  /** Told when the server gives fewer connections than {@link size}, and what it says. */
  readonly onLimited?: (error: unknown) => void;
}

/** A connection that somebody has for himself, until it is released. */
export type PooledConnection = Connection & pg.PoolClient;

/**
 * A pool that outlives its database: it opens new connections as soon as there is something to connect to. It asks for
 * no `statement_timeout`, which poolers refuse: whoever starts a statement cancels it when nobody waits any more.
 */
export function createPool(options: PoolOptions): { pool: pg.Pool; hosts: Hosts } {
  const config = connectionConfig(options.url, options.connectTimeout);
  const pool = new pg.Pool({
    ...config,
    max: options.size,
    // To a far database, a new connection takes longer than a probe may: one that probes use now and then stays open.
    idleTimeoutMillis: 60_000,
    Client: Connection as unknown as NonNullable<pg.PoolConfig["Client"]>,
  });
  // Without a listener, the first connection lost while idle would end the process.
  pool.on("error", options.onLost);
  return { pool, hosts: config.hosts };
}
