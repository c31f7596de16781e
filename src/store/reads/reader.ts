import type { CompiledQuery } from "kysely";
import { cancelStatement, cancelTimeout } from "../connections/cancel.ts";
import { isConnectionLost } from "../connections/connection-loss.ts";
import type { Connections } from "../connections/connections.ts";
import type { PooledConnection } from "../connections/pool.ts";
import { type Row, TextQuery } from "./text-query.ts";

/** One statement on its way. */
export interface Statement {
  /** Rejects with what the driver says; with {@link NotSent} when it was cancelled before it had a connection. */
  readonly rows: Promise<readonly Row[]>;
  /** Whether it had a connection. */
  readonly wasSent: boolean;
  /** Asks the database to stop. The rows are of no use to any call any more. */
  cancel(): void;
}

/** A statement was cancelled before it was sent: what became of it says nothing about the database. */
export class NotSent extends Error {
  override readonly name = "NotSent";

  constructor() {
    super("the statement was cancelled before it was sent");
  }
}

/** Runs statements, each on a connection that no other uses meanwhile. */
export interface Reader {
  /**
   * Runs it once more, on another connection, when the one that it was sent over turns out to be bad.
   *
   * @param queries as Kysely compiled them, their parameters texts. They only read, and are sent as one, in one
   *   transaction; their rows come one after the other.
   */
  start(...queries: CompiledQuery[]): Statement;
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

export interface ReaderOptions {
  /** Told of each statement that is sent, and sent once more. */
  readonly onSent?: () => void;
  /** Told of each statement that is run once more. */
  readonly onRetry?: () => void;
  readonly proof?: Proof;
}

/**
 * Here we go beneath Kysely, for three reasons: rows come as plain texts ({@link TextQuery}); a busy reader keeps its
 * connections from one statement to the next, unless others wait for one, where taking one from the pool costs as much as
 * a third of a statement; and a statement that does not heed its cancellation loses its connection, where Kysely would
 * wait for it for ever. `npm run bench:micro` shows what that gains.
 */
export function createReader(connections: Connections, options: ReaderOptions = {}): Reader {
  const { onSent = () => {}, onRetry = () => {}, proof } = options;
  const kept: PooledConnection[] = [];
  let resting = false;

  async function take(): Promise<PooledConnection> {
    for (let client = kept.pop(); client !== undefined; client = kept.pop()) {
      if (!client.lost) return client;
      client.release();
    }
    return await connections.take();
  }

  function giveBack(client: PooledConnection): void {
    if (client.lost || resting || connections.areAwaited) client.release();
    else kept.push(client);
  }

  function start(...queries: CompiledQuery[]): Statement {
    let cancelled = false;
    let wasSent = false;
    let running: PooledConnection | undefined;
    let cancelling: Promise<void> | undefined;
    let giveUp: NodeJS.Timeout | undefined;
    resting = false;

    async function run(): Promise<readonly Row[]> {
      for (let retried = false; ; retried = true) {
        const client = await take();
        try {
          if (cancelled) throw new NotSent();
          running = client;
          wasSent = true;
          onSent();
          if (proof === undefined) return await client.query(new TextQuery(...queries)).rows;
          return proof.check(await client.query(new TextQuery(proof.query, ...queries)).rows);
        } catch (error) {
          if (error instanceof NotSent) throw error;
          if (error instanceof StaleReplica) {
            client.retire();
            throw error;
          }
          const lost = isConnectionLost(error);
          if (lost) client.lose(error);
          if (!lost || retried || cancelled) throw error;
          onRetry();
        } finally {
          running = undefined;
          clearTimeout(giveUp);
          // A connection that is in use again must not be hit by the cancellation of what it did before.
          if (cancelling !== undefined && !client.lost) await cancelling;
          giveBack(client);
        }
      }
    }

    return {
      rows: run(),
      get wasSent() {
        return wasSent;
      },
      cancel() {
        cancelled = true;
        const client = running;
        if (client === undefined || cancelling !== undefined) return;
        giveUp = setTimeout(() => client.close(), cancelTimeout);
        cancelling = cancelStatement(client, cancelTimeout);
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
