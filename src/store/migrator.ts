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

/** @param options whose signal ends what is being done, in the database, too. */
export function openMigrator({ signal, ...options }: PoolOptions & { signal: AbortSignal }): Migrator {
  // One for the lock and one for statements outside a transaction, however small the service's pool is.
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
