import type { CompiledQuery, Kysely } from "kysely";
import type { StatusStore } from "../status/status-store.ts";
import { createBreaker } from "./connections/breaker.ts";
import { isConnectionLost } from "./connections/connection-loss.ts";
import { type Connections, openConnections } from "./connections/connections.ts";
import { NotSent } from "./connections/not-sent.ts";
import type { PoolOptions } from "./connections/pool.ts";
import { createReader, type Reader } from "./reads/reader.ts";
import { statusQueries } from "./reads/status-query.ts";
import { createStatusStore, type StatusStoreOptions } from "./reads/status-store.ts";
import type { Row } from "./reads/text-query.ts";
import { describeEngine, type Engine } from "./schema/engine.ts";
import {
  everyRowHidden,
  type RowSecurity,
  rowSecurityQuery,
  someRowsHidden,
  toRowSecurity,
} from "./schema/row-security.ts";
import { checkSchema } from "./schema/schema.ts";
import { SchemaError } from "./schema/schema-error.ts";
import type { Tables } from "./schema/tables.ts";

/** PostgreSQL, as far as the service needs it. Disposing of it closes every connection. */
export interface Database extends AsyncDisposable {
  readonly db: Kysely<Tables>;
  readonly statuses: StatusStore;
  /** What is known of it, once it has answered. */
  readonly engine: Engine;
  /** @returns a reader over the same connections, for statements of the store itself. */
  reader(): Reader;
  /** Whether the breaker is open. */
  isUnavailable(): boolean;
  /** See {@link Connections.changeUrl}. */
  changeUrl(url: string): void;
  /** How many connections there are now. */
  pool(): { open: number; idle: number; waiting: number; max: number };
  /**
   * Asks the database once whether statuses can be read, even while the breaker is open.
   *
   * @throws SchemaError when the service cannot work with the schema: until it could once, and when row-level security hides
   *   every row; the signal's reason; otherwise the driver's error.
   */
  probe(signal: AbortSignal): Promise<void>;
}

interface DatabaseOptions extends PoolOptions, StatusStoreOptions {
  /** Called when the breaker opens, and when it closes. @param cause why it opened. Undefined: it has closed. */
  readonly onBreaker: (cause: unknown) => void;
  /** Called once, when the schema is known: what an operator should know of it, though the service can work with it. */
  readonly onSchema?: (warnings: readonly string[]) => void;
}

export function openDatabase(options: DatabaseOptions): Database {
  const connections = openConnections(options);
  const { db } = connections;
  const engine: { isDistributed: boolean } = { isDistributed: false };
  const probeReader = createReader(connections);
  const breaker = createBreaker({
    async probe(signal) {
      await ask(signal, none);
    },
    onChange: options.onBreaker,
  });
  const { none } = statusQueries(db);
  let schemaKnown = false;

  /** @throws NotSent, the signal's reason, the driver's error. */
  async function ask(signal: AbortSignal, ...queries: CompiledQuery[]): Promise<readonly Row[]> {
    signal.throwIfAborted();
    const statement = probeReader.start(...queries);
    signal.addEventListener("abort", statement.cancel);
    try {
      const rows = await statement.rows;
      signal.throwIfAborted();
      return rows;
    } finally {
      signal.removeEventListener("abort", statement.cancel);
      probeReader.releaseConnections();
    }
  }

  /** Runs the statement that calls need, for no row. @throws SchemaError when row-level security hides every row. */
  async function checkReadable(signal: AbortSignal): Promise<RowSecurity> {
    const [row] = await ask(signal, none, rowSecurityQuery);
    const rowSecurity = toRowSecurity(row);
    if (rowSecurity === "hides every row") throw new SchemaError(everyRowHidden);
    return rowSecurity;
  }

  /** Warns of what an operator should know of a schema that the service can work with. @throws SchemaError otherwise. */
  async function describe(readable: Promise<RowSecurity>): Promise<void> {
    let warnings: string[];
    try {
      const rowSecurity = await readable;
      warnings = await checkSchema(db);
      if (rowSecurity === "hides some rows") warnings.push(someRowsHidden);
    } catch (error) {
      if (error instanceof SchemaError || error instanceof NotSent || isConnectionLost(error)) throw error;
      // The statement failed in the database, and the catalogs may tell what to do about it.
      const hints = await checkSchema(db);
      throw new SchemaError(["statuses cannot be read from this schema", ...hints].join(": "), {
        cause: error,
      });
    }
    Object.assign(engine, await describeEngine(db));
    options.onSchema?.(warnings);
    schemaKnown = true;
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
          // Any answer closes the breaker, before its next probe would.
          statement.rows.then(breaker.answered, () => {});
          return statement;
        },
      };
    },
    isUnavailable: () => breaker.refusal !== undefined,
    changeUrl: connections.changeUrl,
    pool: connections.state,
    async probe(signal) {
      const readable = checkReadable(signal);
      // Once is enough: a newer version may migrate the database while this one still serves.
      if (schemaKnown) await readable;
      else await describe(readable);
    },
    async [Symbol.asyncDispose]() {
      breaker[Symbol.dispose]();
      await connections[Symbol.asyncDispose]();
    },
  };
}
