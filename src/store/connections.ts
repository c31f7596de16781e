import { Kysely, PostgresDialect } from "kysely";
import type { Pool, PoolClient } from "pg";
import { createPool, type PoolOptions } from "./pool.ts";
import type { Tables } from "./tables.ts";

/** Ways to one server: beneath Kysely, and with it. Disposing of them closes every connection. */
export interface Connections extends AsyncDisposable {
  readonly pool: Pool;
  readonly db: Kysely<Tables>;
}

/** How long, in milliseconds, statements may take to end once their connections are closed. */
const closeTimeout = 500;

export function openConnections(options: PoolOptions): Connections {
  const pool = createPool(options);
  const clients = new Set<PoolClient>();
  pool.on("connect", (client) => clients.add(client));
  pool.on("remove", (client) => clients.delete(client));
  return {
    pool,
    db: new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) }),
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
