import { randomUUID } from "node:crypto";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { inject } from "vitest";
import { migrate } from "../../src/store/schema/migrate.ts";
import type { Tables } from "../../src/store/schema/tables.ts";

/** A database of a test's own. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly db: Kysely<Tables>;
}

/**
 * Creates a database, migrated and in UTF8 unless asked otherwise. Disposing of it drops it, whoever is connected.
 */
export async function createDatabase({ migrated = true, encoding = "UTF8" } = {}): Promise<TestDatabase> {
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  const admin = inject("postgresUrl");
  await execute(admin, `create database ${name} encoding '${encoding}' locale 'C' template template0`);
  const url = new URL(admin);
  url.pathname = name;
  const pool = new pg.Pool({ connectionString: url.href, max: 3 });
  // Dropping the database ends these connections.
  pool.on("error", () => {});
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  if (migrated) await migrate(db);
  return {
    url: url.href,
    pool,
    db,
    async [Symbol.asyncDispose]() {
      if (!pool.ended) await pool.end();
      await execute(admin, `drop database if exists ${name} with (force)`);
    },
  };
}

async function execute(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
