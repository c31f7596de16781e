import type { CompiledQuery } from "kysely";
import type pg from "pg";
import { cancelStatement } from "./cancel.ts";
import { isConnectionLost, type PooledConnection, releaseConnection, takeConnection } from "./pool.ts";
import { type Row, TextQuery } from "./text-query.ts";

/** One statement on its way. */
export interface Statement {
  readonly rows: Promise<readonly Row[]>;
  /** Asks the database to stop. The rows are of no use to anybody any more. */
  cancel(): void;
}

/** Runs statements, each on a connection that is nobody else's meanwhile. */
export interface Reader {
  /**
   * Runs it once more, on another connection, when the one that it was sent over turns out to be bad.
   *
   * @param query as Kysely compiled it, its parameters texts. It only reads.
   */
  start(query: CompiledQuery): Statement;
  /** There is nothing to do for now: others may have the connections. */
  rest(): void;
}

/** What a replica must show before the rows of a statement may be used. */
export interface Proof {
  /** Asked right before each statement, in the same transaction. Has one row. */
  readonly query: CompiledQuery;
  /**
   * @param rows the row of {@link query} first.
   * @returns the rows of the statement.
   * @throws StaleReplica when they must not be used. The connection is given up: the next one may lead elsewhere.
   */
  check(rows: readonly Row[]): readonly Row[];
}

/** Why what a replica answers must not be used. */
export class StaleReplica extends Error {
  override readonly name = "StaleReplica";
}

interface ReaderOptions {
  /** Told of each statement that is run once more. */
  readonly onRetry?: () => void;
  readonly proof?: Proof;
}

/** How long, in milliseconds, a cancelled statement may still hold its connection before that is given up. */
const cancelTimeout = 500;

/**
 * Here we go beneath Kysely, for three reasons: rows come as plain texts ({@link TextQuery}); a busy reader keeps its
 * connections from one statement to the next, where taking one from the pool costs as much as a third of a
 * statement; and a statement that does not heed its cancellation loses its connection, where Kysely would wait for
 * it for ever. `npm run bench:micro` shows what that gains.
 */
export function createReader(pool: pg.Pool, { onRetry = () => {}, proof }: ReaderOptions = {}): Reader {
  const kept: PooledConnection[] = [];
  let resting = false;

  async function take(): Promise<PooledConnection> {
    for (let client = kept.pop(); client !== undefined; client = kept.pop()) {
      if (!client.lost) return client;
      releaseConnection(client);
    }
    return await takeConnection(pool);
  }

  function start(query: CompiledQuery): Statement {
    let cancelled = false;
    let running: PooledConnection | undefined;
    let cancelling: Promise<void> | undefined;
    let giveUp: NodeJS.Timeout | undefined;
    resting = false;

    async function run(): Promise<readonly Row[]> {
      for (let retried = false; ; retried = true) {
        const client = await take();
        try {
          if (cancelled) return [];
          running = client;
          if (proof === undefined) return await client.query(new TextQuery(query)).rows;
          return proof.check(await client.query(new TextQuery(proof.query, query)).rows);
        } catch (error) {
          if (error instanceof StaleReplica) {
            client.retire();
            throw error;
          }
          const lost = isConnectionLost(error);
          if (lost) client.lose();
          if (!lost || retried || cancelled) throw error;
          onRetry();
        } finally {
          running = undefined;
          clearTimeout(giveUp);
          // A connection that is in use again must not be hit by the cancellation of what it did before.
          if (cancelling !== undefined && !client.lost) await cancelling;
          if (client.lost || resting) releaseConnection(client);
          else kept.push(client);
        }
      }
    }

    return {
      rows: run(),
      cancel() {
        cancelled = true;
        const client = running;
        if (client === undefined || cancelling !== undefined) return;
        giveUp = setTimeout(() => client.lose(), cancelTimeout);
        cancelling = cancelStatement(client, pool.options, cancelTimeout);
      },
    };
  }

  return {
    start,
    rest() {
      resting = true;
      for (const client of kept.splice(0)) releaseConnection(client);
    },
  };
}
