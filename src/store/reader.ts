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

/** Runs statements, each on a connection that is nobody else's meanwhile. */
export interface Reader {
  /** @param query as Kysely compiled it, its parameters texts. */
  start(query: CompiledQuery): Statement;
  /** There is nothing to do for now: others may have the connections. */
  rest(): void;
}

/** How long, in milliseconds, a cancelled statement may still hold its connection before that is given up. */
const cancelTimeout = 500;

/**
 * Here we go beneath Kysely, for three reasons: rows come as plain texts ({@link TextQuery}); a busy reader keeps its
 * connections from one statement to the next, where taking one from the pool costs as much as a third of a
 * statement; and a statement that does not heed its cancellation loses its connection, where Kysely would wait for
 * it for ever. `npm run bench:micro` shows what that gains.
 */
export function createReader(pool: pg.Pool): Reader {
  const kept: (pg.PoolClient & Connection)[] = [];
  let resting = false;

  async function take(): Promise<pg.PoolClient & Connection> {
    for (let client = kept.pop(); client !== undefined; client = kept.pop()) {
      if (!client.lost) return client;
      client.release();
    }
    return (await pool.connect()) as pg.PoolClient & Connection;
  }

  function start(query: CompiledQuery): Statement {
    let cancelled = false;
    let running: (pg.PoolClient & Connection) | undefined;
    let cancelling: Promise<void> | undefined;
    let giveUp: NodeJS.Timeout | undefined;
    resting = false;

    async function run(): Promise<readonly Row[]> {
      const client = await take();
      try {
        if (cancelled) return [];
        running = client;
        return await client.query(new TextQuery(query)).rows;
      } catch (error) {
        if (isConnectionLost(error)) client.lose();
        throw error;
      } finally {
        running = undefined;
        clearTimeout(giveUp);
        // A connection that is in use again must not be hit by the cancellation of what it did before.
        if (cancelling !== undefined) await cancelling;
        if (client.lost || resting) client.release();
        else kept.push(client);
      }
    }

    return {
      rows: run(),
      cancel() {
        cancelled = true;
        const client = running;
        if (client === undefined || cancelling !== undefined) return;
        giveUp = setTimeout(() => client.lose(), cancelTimeout);
        cancelling = cancelBackend(pool, client);
      },
    };
  }

  return {
    start,
    rest() {
      resting = true;
      for (const client of kept.splice(0)) client.release();
    },
  };
}

async function cancelBackend(pool: pg.Pool, client: Connection): Promise<void> {
  const { processID } = client as Connection & { processID: number };
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
