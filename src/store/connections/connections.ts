import { setTimeout as pause } from "node:timers/promises";
import { Kysely, PostgresDialect } from "kysely";
import type { Tables } from "../schema/tables.ts";
import { cancelStatement, cancelTimeout } from "./cancel.ts";
import type { Connection } from "./connection.ts";
import { createPool, type PooledConnection, type PoolOptions } from "./pool.ts";
import { createTurns } from "./turns.ts";

/** Connections to one server: beneath Kysely, and with it. Disposing of them closes every connection. */
export interface Connections extends AsyncDisposable {
  readonly db: Kysely<Tables>;
  /**
   * Takes a connection that is not known to be bad, in turn with all others who want one, however long that takes. Its
   * `release` gives it back, to be kept unless it is bad.
   *
   * @throws what the driver says when a connection cannot be opened: where the server looks as if it were restarting,
   *   after {@link restartPatience}.
   */
  take(): Promise<PooledConnection>;
  /** Whether anything waits for a connection. */
  readonly areAwaited: boolean;
  /** Asks the server to end the statements that run on them. */
  cancelStatements(): void;
  /** The connections, now. `waiting` counts those who wait for one of them. */
  state(): { open: number; idle: number; waiting: number; max: number };
}

/** How long, in milliseconds, statements may take to end once their connections are closed. */
const closeTimeout = 500;

/** How long, in milliseconds, a server that takes no connections is asked again: after a crash it is soon back. */
const restartPatience = 250;
const restartPause = 25;

/** How long, in milliseconds, no more connections are wanted of a server than it gave. */
const limitedFor = 30_000;

/** SQLSTATE too_many_connections: the role, the database or the server has its number of connections. */
const tooManyConnections = "53300";

export function openConnections(options: PoolOptions): Connections {
  const { size, onLimited = () => {} } = options;
  const { pool, hosts } = createPool(options);
  const clients = new Set<Connection>();
  pool.on("connect", (client) => {
    clients.add(client as PooledConnection);
    if (unlimit !== undefined) turns.limitTo(clients.size);
  });
  pool.on("remove", (client) => clients.delete(client as PooledConnection));
  // The pool's own queue gives up after the time in which a connection is to be opened, so nothing ever waits in it.
  const turns = createTurns(size);
  let unlimit: NodeJS.Timeout | undefined;

  async function take(): Promise<PooledConnection> {
    await turns.take();
    const giveUpAt = performance.now() + restartPatience;
    for (let tries = 1; ; tries++) {
      try {
        const connection = (await pool.connect()) as PooledConnection;
        if (!connection.lost) return inTurn(connection);
        connection.close();
        connection.release();
      } catch (error) {
        if (isLimit(error) && pool.totalCount > 0) {
          limit(error);
          turns.giveBack();
          await turns.take();
        } else if (hosts.hasAnother(error) && tries <= 2 * hosts.size) {
          // The next way is tried at once.
        } else if (performance.now() < giveUpAt && isPassing(error)) {
          await pause(restartPause);
          tries = 0;
        } else {
          turns.giveBack();
          throw error;
        }
      }
    }
  }

  /** A server that gives fewer connections than we may have costs throughput, and no call. */
  function limit(error: unknown): void {
    turns.limitTo(Math.max(1, clients.size));
    if (unlimit === undefined) onLimited(error);
    clearTimeout(unlimit);
    unlimit = setTimeout(() => {
      unlimit = undefined;
      turns.limitTo(size);
    }, limitedFor).unref();
  }

  function inTurn(connection: PooledConnection): PooledConnection {
    const giveToPool = connection.release;
    connection.release = (error) => {
      if (connection.lost) connection.close();
      giveToPool.call(connection, error);
      turns.giveBack();
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
      return turns.waiting > 0;
    },
    cancelStatements() {
      for (const client of clients) void cancelStatement(client, cancelTimeout);
    },
    state: () => ({ open: pool.totalCount, idle: pool.idleCount, waiting: turns.waiting, max: size }),
    async [Symbol.asyncDispose]() {
      clearTimeout(unlimit);
      // A statement that still runs is one that no call waits for any more.
      const impatient = setTimeout(() => {
        for (const client of clients) void client.end();
      }, closeTimeout);
      await pool.end();
      clearTimeout(impatient);
    },
  };
}

function isLimit(error: unknown): boolean {
  return (error as { code?: string }).code === tooManyConnections;
}

/** Nothing listens, the server hangs up (of that the driver gives no code), is stopping or starting. */
function isPassing(error: unknown): boolean {
  const { code = "" } = error as { code?: string };
  return /^(|ECONNREFUSED|ECONNRESET|57P0[1-3])$/.test(code);
}
