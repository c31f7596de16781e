import { longestDelay } from "../../status/longest-delay.ts";
import { Connection, type ConnectionConfig, connectionConfig } from "./connection.ts";
import type { Hosts } from "./hosts.ts";

/** How the service connects to its database. Times in milliseconds. */
export interface PoolOptions {
  /** postgres:// URL, as libpq writes it, and complete: variables such as PGSSLMODE do not count here. */
  readonly url: string;
  /** The limit of connections. */
  readonly size: number;
  /** The longest that it may take to open a connection to one host, unless the URL has a `connect_timeout`. */
  readonly connectTimeout: number;
  /** The age, plus or minus 10 %, at which a connection is replaced. Absent: none is. */
  readonly maxAge?: number;
  /** Called when a connection was lost while it was idle. */
  readonly onLost: (error: Error) => void;
  /** Called when the server takes fewer connections than {@link size}. @param error the server's. */
  readonly onLimited?: (error: unknown) => void;
  /** Called when no connection could be opened in place of another one, which stays in use. Once until one could be. */
  readonly onNotReplaced?: (error: unknown) => void;
}

/** Connections to one server: idle, or in use by one user at a time. Disposing of it waits for those that are in use, and not for those that are being opened. */
export interface Pool extends AsyncDisposable {
  /** @returns the usable one that was given back last. It is the caller's until it is given back. */
  takeIdle(): Connection | undefined;
  /** Opens one with the URL that is current then. It is the caller's until it is given back. @throws the driver's error. */
  open(): Promise<Connection>;
  giveBack(connection: Connection): void;
  /** Has it closed: at once when it is idle, and otherwise when it is given back. */
  retire(connection: Connection): void;
  /** New connections use this URL. The first that could be opened retires those of the URL before. */
  changeUrl(url: string): void;
  /** Those that are open. */
  readonly connections: readonly Connection[];
  /** Resolves when the next connection is open, could not be opened, or has left. */
  readonly changed: Promise<void>;
  /** The numbers of connections: of all, with those that are being opened, and of the idle ones. */
  readonly totalCount: number;
  readonly idleCount: number;
  /** The hosts of the current URL. */
  readonly hosts: Hosts;
}

/** How long, in milliseconds, a connection stays idle. It may take longer to open one than a probe may take. */
const idleTimeout = 60_000;

interface Member {
  readonly config: ConnectionConfig;
  isOpen: boolean;
  ageTimer?: NodeJS.Timeout;
  idleTimer?: NodeJS.Timeout;
}

/**
 * It opens new connections as soon as the database takes them, and leaves it to its user not to open too many. It sets no
 * `statement_timeout`, which poolers refuse: a statement is cancelled when no call waits for it any more.
 *
 * @param onAged called once for each connection that has reached its age.
 */
export function createPool(options: PoolOptions, onAged: (connection: Connection) => void): Pool {
  const { connectTimeout, maxAge, onLost } = options;
  let config = connectionConfig(options.url, connectTimeout);
  const members = new Map<Connection, Member>();
  const idle: Connection[] = [];
  const emptied = Promise.withResolvers<void>();
  let changed = Promise.withResolvers<void>();
  let isDisposed = false;

  function forget(connection: Connection): void {
    const member = members.get(connection);
    clearTimeout(member?.ageTimer);
    clearTimeout(member?.idleTimer);
    members.delete(connection);
    const index = idle.indexOf(connection);
    if (index >= 0) idle.splice(index, 1);
    if (isDisposed && members.size === 0) emptied.resolve();
    noteChange();
  }

  function noteChange(): void {
    changed.resolve();
    changed = Promise.withResolvers();
  }

  function discard(connection: Connection): void {
    forget(connection);
    if (connection.isLost) connection.close();
    else connection.endSession();
  }

  function retire(connection: Connection): void {
    connection.retire();
    if (idle.includes(connection)) discard(connection);
  }

  /** @returns undefined when the URL has changed meanwhile: what came of the old one does not matter. */
  async function openNow(): Promise<Connection | undefined> {
    if (isDisposed) throw new Error("the connections to the database are closed");
    const connection = new Connection(config);
    const member: Member = { config, isOpen: false };
    members.set(connection, member);
    connection.on("error", (error) => {
      if (!idle.includes(connection)) return;
      discard(connection);
      onLost(error);
    });
    try {
      await new Promise<void>((resolve, reject) => {
        connection.connect((error: Error | null) => (error ? reject(error) : resolve()));
      });
    } catch (error) {
      forget(connection);
      if (member.config === config) throw error;
      return undefined;
    }
    if (member.config !== config) {
      discard(connection);
      return undefined;
    }
    member.isOpen = true;
    if (maxAge !== undefined) {
      const age = Math.min(maxAge * (0.9 + 0.2 * Math.random()), longestDelay);
      member.ageTimer = setTimeout(onAged, age, connection).unref();
    }
    for (const [other, { config: its }] of members) if (its !== config) retire(other);
    noteChange();
    return connection;
  }

  return {
    takeIdle() {
      for (let connection = idle.at(-1); connection !== undefined; connection = idle.at(-1)) {
        if (connection.isUsable) {
          idle.pop();
          clearTimeout(members.get(connection)?.idleTimer);
          return connection;
        }
        discard(connection);
      }
      return undefined;
    },
    async open() {
      for (;;) {
        const connection = await openNow();
        if (connection !== undefined) return connection;
      }
    },
    giveBack(connection) {
      const member = members.get(connection);
      if (member === undefined) return;
      if (isDisposed || !connection.isUsable) {
        discard(connection);
        return;
      }
      idle.push(connection);
      member.idleTimer = setTimeout(discard, idleTimeout, connection);
    },
    retire,
    changeUrl(url) {
      config = connectionConfig(url, connectTimeout);
    },
    get connections() {
      return Array.from(members).flatMap(([connection, { isOpen }]) => (isOpen ? [connection] : []));
    },
    get changed() {
      return changed.promise;
    },
    get totalCount() {
      return members.size;
    },
    get idleCount() {
      return idle.length;
    },
    get hosts() {
      return config.hosts;
    },
    async [Symbol.asyncDispose]() {
      isDisposed = true;
      for (const connection of [...idle]) discard(connection);
      for (const [connection, { isOpen }] of members) if (!isOpen) connection.close();
      if (members.size > 0) await emptied.promise;
    },
  };
}
