import type { PoolClient } from "pg";
import { cancelStatement } from "./cancel.ts";
import { openConnections } from "./connections.ts";
import { type Migrated, type MigrateOptions, migrate } from "./migrate.ts";
import type { PoolOptions } from "./pool.ts";

/** Connections of its own, to migrate a database with. Disposing of it closes them. */
interface Migrator extends AsyncDisposable {
  /** See {@link migrate}. */
  migrate(options?: Omit<MigrateOptions, "signal">): Promise<Migrated>;
}

/** How long, in milliseconds, the database may take to notice that a statement is cancelled. */
const cancelTimeout = 500;

/** @param options The signal cancels the statements that run, in the database as well. */
export function openMigrator({ signal, ...options }: PoolOptions & { signal: AbortSignal }): Migrator {
  // One connection holds the lock, the other runs statements outside a transaction. DATABASE_POOL_SIZE may be 1.
  const { pool, db, ...connections } = openConnections({ ...options, size: 2 });
  const clients = new Set<PoolClient>();
  pool.on("connect", (client) => clients.add(client));
  pool.on("remove", (client) => clients.delete(client));
  const cancel = () => {
    for (const client of clients) void cancelStatement(client, pool.options, cancelTimeout);
  };
  signal.addEventListener("abort", cancel);
  return {
    migrate: (options) => migrate(db, { ...options, signal }),
    async [Symbol.asyncDispose]() {
      await connections[Symbol.asyncDispose]();
      signal.removeEventListener("abort", cancel);
    },
  };
}
