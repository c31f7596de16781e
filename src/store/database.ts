import { type Kysely, sql } from "kysely";
import type { StatusStore } from "../status/service.ts";
import { createBreaker } from "./breaker.ts";
import { openConnections } from "./connections.ts";
import { isConnectionLost, type PoolOptions } from "./pool.ts";
import { createReader, type Reader } from "./reader.ts";
import { checkSchema } from "./schema.ts";
import { createStatusStore, type StatusStoreOptions } from "./status-store.ts";
import type { Tables } from "./tables.ts";

/** PostgreSQL, as far as the service needs it. Disposing of it closes every connection. */
export interface Database extends AsyncDisposable {
  readonly db: Kysely<Tables>;
  readonly statuses: StatusStore;
  /** Another way to its connections, beneath Kysely. */
  reader(): Reader;
  /** The connections, now. */
  pool(): { open: number; idle: number; waiting: number; max: number };
  /**
   * Asks the database once whether statuses can be read, whatever the breaker thinks of it.
   *
   * @throws SchemaError until the schema was ours once, when it is not; the signal's reason; otherwise whatever the
   *   driver says.
   */
  probe(signal: AbortSignal): Promise<void>;
}

interface DatabaseOptions extends PoolOptions, StatusStoreOptions {
  /** Told when the database is known to be gone, and why; told when it is back, with nothing. */
  readonly onBreaker: (cause: unknown) => void;
}

export function openDatabase(options: DatabaseOptions): Database {
  const { pool, db, ...connections } = openConnections(options);
  const prober = createReader(pool);
  const breaker = createBreaker({ probe: look, onChange: options.onBreaker });
  const question = sql`select from memory_job limit 0`.compile(db);
  let schemaChecked = false;

  async function look(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const statement = prober.start(question);
    signal.addEventListener("abort", statement.cancel);
    try {
      await statement.rows;
    } finally {
      signal.removeEventListener("abort", statement.cancel);
      prober.rest();
    }
    signal.throwIfAborted();
  }

  return {
    db,
    statuses: createStatusStore(db, pool, options, breaker),
    reader() {
      const reader = createReader(pool);
      return {
        ...reader,
        start(query) {
          const statement = reader.start(query);
          // Whoever gets an answer knows before the next probe that the database is back. A cancelled one has no rows.
          statement.rows.then(
            (rows) => rows.length > 0 && breaker.answered(),
            () => {},
          );
          return statement;
        },
      };
    },
    pool: () => ({
      open: pool.totalCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount,
      max: options.size,
    }),
    async probe(signal) {
      const looking = look(signal);
      // Once is enough: a newer version may migrate the database while this one still serves. Not before there was an
      // answer, of whatever kind: nothing ends the wait for this one.
      if (!schemaChecked) {
        await looking.catch((error) => {
          if (isConnectionLost(error)) throw error;
        });
        await checkSchema(db);
        schemaChecked = true;
      }
      await looking;
    },
    async [Symbol.asyncDispose]() {
      breaker[Symbol.dispose]();
      await connections[Symbol.asyncDispose]();
    },
  };
}
