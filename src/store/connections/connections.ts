import { setTimeout as pause } from "node:timers/promises";
import { Kysely, PostgresDialect } from "kysely";
import type { Tables } from "../schema/tables.ts";
import { cancelStatement, cancelTimeout } from "./cancel.ts";
import type { Connection } from "./connection.ts";
import { isStoppingOrStarting } from "./connection-loss.ts";
import { createPool, type PooledConnection, type PoolOptions } from "./pool.ts";
import { createSemaphore } from "./semaphore.ts";

/** Connections to one server: beneath Kysely, and with it. Disposing of them closes every connection. */
export interface Connections extends AsyncDisposable {
  readonly db: Kysely<Tables>;
  /**
   * Takes a connection that is not known to be lost, when it is its turn, however long that takes. Its `release` gives it
   * back, to be kept while it is usable.
   *
   * @throws the driver's error when a connection cannot be opened: where the server seems to restart, after
   *   {@link restartTimeout}.
   */
  take(): Promise<PooledConnection>;
  /** Whether anything waits for a connection. */
  readonly areAwaited: boolean;
  /** Has the listener called whenever something begins to wait for a connection: what is kept for later is to be released. */
  onAwaited(listener: () => void): void;
  /** Asks the server to end the statements that run on them. */
  cancelStatements(): void;
  /** How many connections there are now. `waiting` counts the statements that wait for one. */
  state(): { open: number; idle: number; waiting: number; max: number };
}

/** How long, in milliseconds, statements may take to end once their connections are closed. */
const closeTimeout = 500;

/** How long, in milliseconds, a server that takes no connections is tried again: after a crash it is soon back. */
const restartTimeout = 250;
const restartPause = 25;

/** How long, in milliseconds, no more connections are asked of a server than it has allowed. */
const limitDuration = 30_000;

/** SQLSTATE too_many_connections: the role, the database or the server has reached its limit of connections. */
const tooManyConnections = "53300";

export function openConnections(options: PoolOptions): Connections {
  const { size, onLimited = () => {} } = options;
  const { pool, hosts } = createPool(options);
  const clients = new Set<Connection>();
  pool.on("connect", (client) => {
    clients.add(client as PooledConnection);
    if (unlimit !== undefined) semaphore.limitTo(clients.size);
  });
  pool.on("remove", (client) => clients.delete(client as PooledConnection));
  // What waits in the pool's own queue fails after the connect timeout, so nothing ever waits in it.
  const awaitedListeners: (() => void)[] = [];
  const semaphore = createSemaphore(size, () => {
    for (const listener of awaitedListeners) listener();
  });
  let unlimit: NodeJS.Timeout | undefined;

  async function take(): Promise<PooledConnection> {
    await semaphore.acquire();
    const deadline = performance.now() + restartTimeout;
    for (let attempts = 1; ; attempts++) {
      try {
        const connection = (await pool.connect()) as PooledConnection;
        if (connection.isUsable) return holdingPermit(connection);
        connection.close();
        connection.release();
      } catch (error) {
        if (isLimit(error) && pool.totalCount > 0) {
          limit(error);
          semaphore.release();
          await semaphore.acquire();
        } else if (hosts.hasAnother(error) && attempts <= 2 * hosts.size) {
          // The next way is tried at once.
        } else if (performance.now() < deadline && isRestart(error)) {
          await pause(restartPause);
          attempts = 0;
        } else {
          semaphore.release();
          throw error;
        }
      }
    }
  }

  /** A server that allows fewer connections than the pool may have costs throughput, and no call. */
  function limit(error: unknown): void {
    semaphore.limitTo(Math.max(1, clients.size));
    if (unlimit === undefined) onLimited(error);
    clearTimeout(unlimit);
    unlimit = setTimeout(() => {
      unlimit = undefined;
      semaphore.limitTo(size);
    }, limitDuration).unref();
  }

  /** @returns the connection, whose `release` releases the permit as well. */
  function holdingPermit(connection: PooledConnection): PooledConnection {
    const giveToPool = connection.release;
    connection.release = (error) => {
      if (!connection.isUsable) connection.close();
      giveToPool.call(connection, error);
      semaphore.release();
    };
    return connection;
  }

  return {
    db: new Kysely<Tables>({
      dialect: new PostgresDialect({
        pool: { connect: take, end: () => pool.end(), options: pool.options },
      }),
    }),
    take,
    get areAwaited() {
      return semaphore.waiting > 0;
    },
    onAwaited: (listener) => void awaitedListeners.push(listener),
    cancelStatements() {
      for (const client of clients) void cancelStatement(client, cancelTimeout);
    },
    state: () => ({ open: pool.totalCount, idle: pool.idleCount, waiting: semaphore.waiting, max: size }),
    async [Symbol.asyncDispose]() {
      clearTimeout(unlimit);
      // No call waits any more for a statement that still runs.
      const closeTimer = setTimeout(() => {
        for (const client of clients) void client.end();
      }, closeTimeout);
      await pool.end();
      clearTimeout(closeTimer);
    },
  };
}

function isLimit(error: unknown): boolean {
  return (error as { code?: string }).code === tooManyConnections;
}

/** Nothing listens, the server closes the connection (an error of the driver's without a code), is stopping or starting. */
function isRestart(error: unknown): boolean {
  const { code = "" } = error as { code?: string };
  return /^(|ECONNREFUSED|ECONNRESET)$/.test(code) || isStoppingOrStarting(error);
}
