import { randomUUID } from "node:crypto";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { inject } from "vitest";
import { migrate } from "../../src/store/schema/migrate.ts";
import type { Tables } from "../../src/store/schema/tables.ts";

/** A database of a test's own, on the server of the test run. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly db: Kysely<Tables>;
}

/** For statements that create and drop databases. */
let superuser: pg.Pool | undefined;

function administer(statement: string): Promise<unknown> {
  superuser ??= new pg.Pool({ connectionString: inject("postgresUrl"), max: 2, allowExitOnIdle: true })
    // The server may stop before this process.
    .on("error", () => {});
  return superuser.query(statement);
}

/**
 * Creates a database, migrated and in UTF8 unless the caller asks otherwise. Disposing of it ends its connections and drops it.
 */
export async function createDatabase({ migrated = true, encoding = "UTF8" } = {}): Promise<TestDatabase> {
  // Copies of files cost the server less than a log record for each page.
  if (migrated && encoding === "UTF8")
    return openDatabase(`template ${inject("migrated")} strategy file_copy`);
  const database = await openDatabase(
    `template template0 encoding '${encoding}' locale 'C' strategy file_copy`,
  );
  if (migrated) await migrate(database.db);
  return database;
}

async function openDatabase(options: string): Promise<TestDatabase> {
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  await administer(`create database ${name} ${options}`);
  const url = new URL(inject("postgresUrl"));
  url.pathname = name;
  const pool = new pg.Pool({ connectionString: url.href, max: 3 });
  // Dropping the database ends these connections.
  pool.on("error", () => {});
  return {
    url: url.href,
    pool,
    db: new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) }),
    async [Symbol.asyncDispose]() {
      if (!pool.ended) await pool.end();
      await administer(`drop database if exists ${name} with (force)`);
    },
  };
}
