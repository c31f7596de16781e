import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { startEmbedded } from "../../src/store/embedded/embedded.ts";
import { migrate } from "../../src/store/schema/migrate.ts";
import type { Tables } from "../../src/store/schema/tables.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** A real PostgreSQL, as its superuser. Each test makes a database of its own on it: see database.ts. */
    postgresUrl: string;
    /** The name of a database that is migrated, in UTF8 and empty, for others to be copied from. */
    migrated: string;
  }
}

/** One PostgreSQL server for the whole run. Its data need not survive a crash. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // pg, which tests use beside the service, takes what is missing in a URL from these.
  for (const name of Object.keys(process.env)) if (/^PG[A-Z]/.test(name)) delete process.env[name];
  const directory = await mkdtemp(join(tmpdir(), "gomemory-status-test-"));
  const postgres = await startEmbedded({
    directory,
    settings: {
      fsync: "off",
      synchronous_commit: "off",
      full_page_writes: "off",
      autovacuum: "off",
      shared_buffers: "32MB",
      max_connections: "400",
      max_wal_size: "4GB",
    },
  });
  project.provide("postgresUrl", postgres.url);
  project.provide("migrated", await createMigrated(postgres.url));
  return async () => {
    await postgres[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  };
}

async function createMigrated(url: string): Promise<string> {
  const name = "migrated";
  await withDatabase(url, (db) =>
    sql`create database ${sql.ref(name)} encoding 'UTF8' locale 'C' template template0`.execute(db),
  );
  await withDatabase(Object.assign(new URL(url), { pathname: name }).href, (db) => migrate(db));
  return name;
}

/** Runs something and closes its connections: a database that has any cannot be copied. */
async function withDatabase(url: string, work: (db: Kysely<Tables>) => Promise<unknown>): Promise<void> {
  const pool = new pg.Pool({ connectionString: url, max: 2 });
  await work(new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) }));
  await pool.end();
}
