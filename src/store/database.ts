import type { Kysely } from "kysely";
import type { StatusStore } from "../status/service.ts";
import { createBreaker } from "./breaker.ts";

import { openConnections } from "./connections.ts";
import { describeEngine, type Engine } from "./engine.ts";
import { checkSchema } from "./migrate.ts";
import { isConnectionLost, type PoolOptions } from "./pool.ts";
import { createReader, type Reader } from "./reader.ts";
import { statusQueries } from "./status-query.ts";
import { createStatusStore, type StatusStoreOptions } from "./status-store.ts";
import type { Tables } from "./tables.ts";

/** PostgreSQL, as far as the service needs it. Disposing of it closes every connection. */
export interface Database extends AsyncDisposable {
  readonly db: Kysely<Tables>;
  readonly statuses: StatusStore;
  /** What is known of it, once it has answered. */
  readonly engine: Engine;
  /** Another way to its connections, beneath Kysely. */
  reader(): Reader;
  /** Whether the breaker takes it for gone. */
  isGone(): boolean;
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
  const connections = openConnections(options);
  const { db } = connections;
  const engine: { isDistributed: boolean } = { isDistributed: false };
  const prober = createReader(connections);
  const breaker = createBreaker({ probe: look, onChange: options.onBreaker });
  const { none } = statusQueries(db);
  let schemaChecked = false;

  /** What decides is the statement that calls need, asked for no row. */
  async function look(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const statement = prober.start(none);
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
    engine,
    statuses: createStatusStore(connections, { ...options, engine }, breaker),
    reader() {
      const reader = createReader(connections);
      return {
        ...reader,
        start(...queries) {
          const statement = reader.start(...queries);
          // Whatever is answered tells before the next probe that the database is back.
          statement.rows.then(breaker.answered, () => {});
          return statement;
        },
      };
    },
    isGone: () => breaker.refusal !== undefined,
    pool: connections.state,
    async probe(signal) {
      const looking = look(signal);
      // Once is enough: a newer version may migrate the database while this one still serves. Not before there was an
      // answer, of whatever kind: nothing ends the wait for this one.
      if (!schemaChecked) {
        await looking.catch((error) => {
          if (isConnectionLost(error)) throw error;
        });
        await checkSchema(db);
        Object.assign(engine, await describeEngine(db));
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
