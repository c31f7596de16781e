import { openConnections } from "../connections/connections.ts";
import type { PoolOptions } from "../connections/pool.ts";
import { type Migrated, type MigrateOptions, migrate } from "./migrate.ts";

/** Migrates a database over connections of its own. Disposing of it closes them. */
interface Migrator extends AsyncDisposable {
  /** See {@link migrate}. */
  migrate(options?: Omit<MigrateOptions, "signal">): Promise<Migrated>;
}

/** @param options The signal cancels the statements that run, in the database as well. */
export function openMigrator({ signal, ...options }: PoolOptions & { signal: AbortSignal }): Migrator {
  // One connection holds the lock, the other runs statements outside a transaction. DATABASE_POOL_SIZE may be 1.
  const connections = openConnections({ ...options, size: 2 });
  signal.addEventListener("abort", connections.cancelStatements);
  return {
    migrate: (options) => migrate(connections.db, { ...options, signal }),
    async [Symbol.asyncDispose]() {
      await connections[Symbol.asyncDispose]();
      signal.removeEventListener("abort", connections.cancelStatements);
    },
  };
}
