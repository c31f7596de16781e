import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import type { Tables } from "../../src/store/schema/tables.ts";
import type { TestDatabase } from "./database.ts";

export const rolesSql = await readFile(new URL("../../deploy/roles.sql", import.meta.url), "utf8");

/** A login role that is a member of one of the roles of deploy/roles.sql, and nothing else. */
export interface Login extends AsyncDisposable {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly db: Kysely<Tables>;
}

/** Creates one in a migrated database. Dispose of it before the database. */
export async function createLogin(
  database: Pick<TestDatabase, "url" | "pool">,
  role: "gomemory_reader" | "gomemory_producer" | "gomemory_purger",
): Promise<Login> {
  await database.pool.query(rolesSql);
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  const password = randomUUID();
  await database.pool.query(`create role ${name} login password '${password}' in role ${role}`);
  const url = new URL(database.url);
  url.username = name;
  url.password = password;
  const pool = new pg.Pool({ connectionString: url.href, max: 3 });
  pool.on("error", () => {});
  return {
    url: url.href,
    pool,
    db: new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) }),
    async [Symbol.asyncDispose]() {
      await pool.end();
      await database.pool.query(`drop role ${name}`);
    },
  };
}

/** Makes a role the owner of the table and of memory_job_purge, from whom row-level security hides every row. */
export async function hideRowsFromOwner({ pool }: Pick<TestDatabase, "pool">, role: string): Promise<void> {
  await pool.query(`
    grant create on schema public to ${role};
    alter table memory_job owner to ${role};
    alter function memory_job_purge owner to ${role};
    alter table memory_job enable row level security, force row level security`);
}
