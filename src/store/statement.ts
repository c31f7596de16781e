import type { CompiledQuery } from "kysely";
import type pg from "pg";
import { Connection, isConnectionLost } from "./pool.ts";
import { type Row, TextQuery } from "./text-query.ts";

/** One statement on its way. */
export interface Statement {
  readonly rows: Promise<readonly Row[]>;
  /** Asks the database to stop. The rows are of no use to anybody any more. */
  cancel(): void;
}

/** How long, in milliseconds, a cancelled statement may still hold its connection before that is given up. */
const cancelTimeout = 500;

/**
 * Runs a query that Kysely compiled, on a connection that is nobody else's meanwhile. It goes beneath Kysely for
 * the sake of {@link TextQuery}, and because a statement that does not heed its cancellation must lose its
 * connection, where Kysely would wait for it for ever.
 */
export function startStatement(pool: pg.Pool, query: CompiledQuery): Statement {
  let cancelled = false;
  let running: pg.PoolClient | undefined;
  let cancelling: Promise<void> | undefined;
  let giveUp: NodeJS.Timeout | undefined;

  async function run(): Promise<readonly Row[]> {
    const client = await pool.connect();
    try {
      if (cancelled) return [];
      running = client;
      return await client.query(new TextQuery(query)).rows;
    } catch (error) {
      // A fatal error comes before the socket closes. Released in between, the client would be handed out once more.
      if (isConnectionLost(error)) void client.end();
      throw error;
    } finally {
      running = undefined;
      clearTimeout(giveUp);
      // A connection that is in use again must not be hit by the cancellation of what it did before.
      if (cancelling !== undefined) await cancelling;
      client.release();
    }
  }

  return {
    rows: run(),
    cancel() {
      cancelled = true;
      const client = running;
      if (client === undefined || cancelling !== undefined) return;
      giveUp = setTimeout(() => void client.end(), cancelTimeout);
      cancelling = cancelBackend(pool, client);
    },
  };
}

async function cancelBackend(pool: pg.Pool, client: pg.PoolClient): Promise<void> {
  const { processID } = client as pg.PoolClient & { processID: number };
  const control = new Connection(pool.options);
  try {
    await control.connect();
    await control.query("select pg_cancel_backend($1)", [processID]);
  } catch {
    // A database that cannot be asked: the connection is given up in time.
  } finally {
    void control.end();
  }
}
