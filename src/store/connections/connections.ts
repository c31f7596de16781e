import { setTimeout as pause } from "node:timers/promises";
import { Kysely, PostgresDialect } from "kysely";
import type { Tables } from "../schema/tables.ts";
import { cancelStatement, cancelTimeout } from "./cancel.ts";
import type { Connection } from "./connection.ts";
import { isLoginRefused, isStoppingOrStarting } from "./connection-loss.ts";
import { createPool, type PoolOptions } from "./pool.ts";
import { createRenewal } from "./renewal.ts";
import { createSemaphore } from "./semaphore.ts";

/** A connection for one user at a time, until it is released. */
export interface PooledConnection extends Connection {
  /** Gives it back, to be kept while it is usable. @param isBroken it is closed. */
  release(isBroken?: boolean): void;
}

/** Connections to one server: beneath Kysely, and with it. Disposing of them closes every connection. */
export interface Connections extends AsyncDisposable {
  readonly db: Kysely<Tables>;
  /**
   * Takes a connection that is not known to be lost, when it is its turn, however long that takes.
   *
   * @throws the driver's error when a connection cannot be opened: where the server seems to restart, after
   *   {@link restartTimeout}.
   */
  take(): Promise<PooledConnection>;
  /** Whether anything waits for a connection. */
  readonly areAwaited: boolean;
  /**
   * Has the listener called whenever connections that are kept for later are to be released: something waits for one, or one
   * of them is to be closed.
   */
  onRecall(listener: () => void): void;
  /**
   * Uses another URL for new connections. The others are closed when they are idle or released, once one could be opened with
   * the new URL. Where there is no room for another, one of them is closed first.
   */
  changeUrl(url: string): void;
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

/** How long, in milliseconds, no more connections are asked of a server than it has taken. */
const limitDuration = 30_000;

/** SQLSTATE too_many_connections: the role, the database or the server has reached its limit of connections. */
const tooManyConnections = "53300";

export function openConnections(options: PoolOptions): Connections {
  const { size, onLimited = () => {}, onNotReplaced = () => {} } = options;
  const pool = createPool(options, (connection) => renewal.add([connection]));
  const renewal = createRenewal(replace, onNotReplaced);
  const recallListeners: (() => void)[] = [];
  const recall = () => {
    for (const listener of recallListeners) listener();
  };
  const semaphore = createSemaphore(size, recall);
  let unlimit: NodeJS.Timeout | undefined;
  let limitedBy: unknown;

  async function open(): Promise<Connection> {
    const connection = await pool.open();
    if (isLoginRefused(limitedBy)) endLimit();
    else if (limitedBy !== undefined) semaphore.limitTo(pool.connections.length);
    // Those that are kept may be retired now, or soon.
    recall();
    return connection;
  }

  async function take(): Promise<PooledConnection> {
    await semaphore.acquire();
    const deadline = performance.now() + restartTimeout;
    for (let attempts = 1; ; attempts++) {
      try {
        const connection = pool.takeIdle() ?? (await open());
        if (connection.isUsable) return holdingPermit(connection);
        pool.giveBack(connection);
      } catch (error) {
        if (isLimit(error) ? pool.totalCount > 0 : isLoginRefused(error) && pool.connections.length > 0) {
          limit(error);
          semaphore.release();
          await semaphore.acquire();
        } else if (pool.hosts.hasAnother(error) && attempts <= 2 * pool.hosts.size) {
          // The next way is tried at once.
        } else if (performance.now() < deadline && isRestart(error)) {
          await pause(restartPause);
          attempts = 0;
        } else {
          // There are none left to share: what waits need not fail one after the other.
          if (isLoginRefused(error)) endLimit();
          semaphore.release();
          throw error;
        }
      }
    }
  }

  /** A server that takes fewer connections than the pool may have costs throughput, and no call. */
  function limit(error: unknown): void {
    semaphore.limitTo(Math.max(1, pool.connections.length));
    if (limitedBy === undefined) onLimited(error);
    limitedBy = error;
    clearTimeout(unlimit);
    unlimit = setTimeout(endLimit, limitDuration).unref();
  }

  function endLimit(): void {
    clearTimeout(unlimit);
    limitedBy = undefined;
    semaphore.limitTo(size);
  }

  /** Where there is room, another one is opened first: no call waits for it, or fails where none can be opened. */
  async function replace(connection: Connection): Promise<void> {
    await semaphore.acquire();
    try {
      // What is being opened may fail, which leaves room: only where all are open, one has to be closed first.
      while (pool.totalCount === size && pool.connections.length < size) await pool.changed;
      if (pool.totalCount < size) pool.giveBack(await open());
    } catch (error) {
      // There are as many as the server takes.
      if (!isLimit(error) || pool.connections.length === 1) throw error;
    } finally {
      semaphore.release();
    }
    pool.retire(connection);
    recall();
    // It takes up room as long as it is in use: the next one must not be closed for want of that.
    while (pool.connections.includes(connection)) await pool.changed;
  }

  /** @returns the connection, whose `release` gives it back, and the permit as well. */
  function holdingPermit(connection: Connection): PooledConnection {
    return Object.assign(connection, {
      release(isBroken = false) {
        if (isBroken) connection.close();
        pool.giveBack(connection);
        semaphore.release();
      },
    });
  }

  return {
    db: new Kysely<Tables>({
      dialect: new PostgresDialect({
        pool: { connect: take, end: async () => pool[Symbol.asyncDispose](), options: {} },
      }),
    }),
    take,
    get areAwaited() {
      return semaphore.waiting > 0;
    },
    onRecall: (listener) => void recallListeners.push(listener),
    changeUrl(url) {
      const previous = pool.connections;
      pool.changeUrl(url);
      renewal.add(previous);
    },
    cancelStatements() {
      for (const connection of pool.connections) void cancelStatement(connection, cancelTimeout);
    },
    state: () => ({ open: pool.totalCount, idle: pool.idleCount, waiting: semaphore.waiting, max: size }),
    async [Symbol.asyncDispose]() {
      clearTimeout(unlimit);
      renewal[Symbol.dispose]();
      // No call waits any more for a statement that still runs.
      const closeTimer = setTimeout(() => {
        for (const connection of pool.connections) connection.close();
      }, closeTimeout);
      await pool[Symbol.asyncDispose]();
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
