import { startPgbouncer } from "./pgbouncer.ts";
import type { Programs } from "./programs.ts";
import { startStatementPooler } from "./statement-pooler/statement-pooler.ts";

/** A connection pooler between services and their database. */
interface Pooler extends AsyncDisposable {
  /** The database's URL through the pooler. */
  readonly url: string;
}

/** A kind of pooler. */
interface PoolerKind {
  readonly name: string;
  /** Whether it keeps the prepared statements of its clients: always, never, or as it happens. */
  readonly keeps: "always" | "never" | "sometimes";
  start(programs: Programs, databaseUrl: string): Promise<Pooler>;
}

/** Enough for a session of its own for each client. */
const sessionMode = { pool_mode: "session", default_pool_size: "100" };

/** What pgbouncer runs after every transaction, and not only after a session. */
const resetting = (query: string) => ({ server_reset_query: query, server_reset_query_always: "1" });

/** pgbouncer of Debian 12 is 1.18, which knows nothing of its clients' prepared statements. */
export const poolerKinds: readonly PoolerKind[] = [
  pgbouncer("transaction mode", "sometimes", {}),
  pgbouncer("statement mode", "sometimes", { pool_mode: "statement" }),
  pgbouncer("session mode", "always", sessionMode),
  pgbouncer("transaction mode, `DISCARD ALL` after each", "never", resetting("DISCARD ALL")),
  pgbouncer("transaction mode, `DEALLOCATE ALL` after each", "never", resetting("DEALLOCATE ALL")),
  {
    name: "stand-in for pgbouncer 1.21 and later, transaction mode",
    keeps: "always",
    start: (_, databaseUrl) => startStatementPooler(databaseUrl),
  },
];

function pgbouncer(
  mode: string,
  keeps: PoolerKind["keeps"],
  settings: Readonly<Record<string, string>>,
): PoolerKind {
  return {
    name: `pgbouncer, ${mode}`,
    keeps,
    start: (programs, databaseUrl) => startPgbouncer(programs, databaseUrl, settings),
  };
}
