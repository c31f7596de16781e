import { randomUUID } from "node:crypto";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import type { Tables } from "../../src/store/schema/tables.ts";
import type { TestDatabase } from "./database.ts";

/** A pool of connections with a role or a search path of its own. */
export interface Session extends AsyncDisposable {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly db: Kysely<Tables>;
}

/** @param options for the server's command line, as `-c name=value`. */
export function openSession(url: string | URL, options = ""): Session {
  const target = new URL(url);
  if (options !== "") target.search = `options=${encodeURIComponent(options)}`;
  const pool = new pg.Pool({ connectionString: target.href, max: 3 });
  pool.on("error", () => {});
  return {
    url: target.href,
    pool,
    db: new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) }),
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

/** A login role without any grants. Dispose of it before the database. */
export async function createUnprivilegedLogin(
  database: TestDatabase,
): Promise<Session & { readonly role: string }> {
  const role = `test_${randomUUID().replaceAll("-", "")}`;
  const password = randomUUID();
  await database.pool.query(`create role ${role} login password '${password}'`);
  const session = openSession(Object.assign(new URL(database.url), { username: role, password }));
  return {
    ...session,
    role,
    async [Symbol.asyncDispose]() {
      await session[Symbol.asyncDispose]();
      await database.pool.query(`drop owned by ${role}; drop role ${role}`);
    },
  };
}
