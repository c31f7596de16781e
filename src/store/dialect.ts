import { type DialectAdapter, PostgresAdapter, PostgresDialect } from "kysely";

/**
 * Kysely's PostgreSQL, without the lock that its Migrator takes for itself: that belongs to the session, and a pooler in
 * transaction mode keeps the session when we have gone. migrate.ts has a lock that ends with the transaction.
 */
export class PooledPostgresDialect extends PostgresDialect {
  override createAdapter(): DialectAdapter {
    return new LocklessAdapter();
  }
}

class LocklessAdapter extends PostgresAdapter {
  override acquireMigrationLock(): Promise<void> {
    return Promise.resolve();
  }

  override releaseMigrationLock(): Promise<void> {
    return Promise.resolve();
  }
}
