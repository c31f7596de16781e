import { Kysely, PostgresDialect, sql } from "kysely";
import type { PoolClient } from "pg";
import type { StatusStore } from "../status/service.ts";
import { checkSchema } from "./migrate.ts";
import { createPool, type PoolOptions } from "./pool.ts";
import { createStatusStore, type StatusStoreOptions } from "./status-store.ts";
import type { Tables } from "./tables.ts";

/** PostgreSQL, as far as the service needs it. Disposing of it closes every connection. */
export interface Database extends AsyncDisposable {
  readonly db: Kysely<Tables>;
  readonly statuses: StatusStore;
  /** The connections, now. */
  pool(): { open: number; idle: number; waiting: number; max: number };
  /**
   * Asks the database once whether statuses can be read.
   *
   * @throws SchemaError the first time, when the schema is not ours; otherwise whatever the driver says.
   */
  probe(): Promise<void>;
}

/** How long, in milliseconds, statements may take to end once the database is closed. */
const closeTimeout = 500;

export function openDatabase(options: PoolOptions & StatusStoreOptions): Database {
  const pool = createPool(options);
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  const clients = new Set<PoolClient>();
  pool.on("connect", (client) => clients.add(client));
  pool.on("remove", (client) => clients.delete(client));
  let schemaChecked = false;

  return {
    db,
    statuses: createStatusStore(db, pool, options),
    pool: () => ({
      open: pool.totalCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount,
      max: options.size,
    }),
    async probe() {
      // Once is enough: a newer version may migrate the database while this one still serves.
      if (!schemaChecked) await checkSchema(db);
      schemaChecked = true;
      await sql`select from memory_job limit 0`.execute(db);
    },
    async [Symbol.asyncDispose]() {
      // Whoever still has a statement running does not wait for it any more.
      const impatient = setTimeout(() => {
        for (const client of clients) void client.end();
      }, closeTimeout);
      await pool.end();
      clearTimeout(impatient);
    },
  };
}
