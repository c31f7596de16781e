import type { CompiledQuery } from "kysely";
import { cancelStatement, cancelTimeout } from "../connections/cancel.ts";
import { isConnectionLost } from "../connections/connection-loss.ts";
import type { Connections, PooledConnection } from "../connections/connections.ts";
import { NotSent } from "../connections/not-sent.ts";
import { type FreshnessCheck, StaleReplica } from "./freshness-check.ts";
import {
  mayConcernPreparation,
  type PreparedOnConnection,
  type PreparedStatements,
} from "./prepared-statements.ts";
import { type Row, TextQuery } from "./text-query.ts";

/** A statement that runs, or waits for a connection. */
export interface Statement {
  /** Rejects with the driver's error; with NotSent when it was cancelled before it had a connection. */
  readonly rows: Promise<readonly Row[]>;
  /** Whether it had a connection. */
  readonly wasSent: boolean;
  /** Asks the database to stop it: no call waits for its rows any more. */
  cancel(): void;
}

/** Runs statements, each on a connection that no other statement uses meanwhile. */
export interface Reader {
  /**
   * Runs it once more, on another connection, when its connection turns out to be lost; and unnamed, when it may have failed
   * for being prepared.
   *
   * @param queries as Kysely compiled them, their parameters texts. They only read, and are sent as one, in one
   *   transaction; their rows come one after the other.
   */
  start(...queries: CompiledQuery[]): Statement;
  /** Gives the connections that are kept for the next statement back to the pool; those in use follow when they are done. */
  releaseConnections(): void;
}

export interface ReaderOptions {
  /** Called for each statement that is sent, and sent once more. */
  readonly onSent?: () => void;
  /** Called for each statement that is run once more. */
  readonly onRetry?: () => void;
  /** A connection whose rows fail it is not used again: the next one may lead to another server. */
  readonly freshnessCheck?: FreshnessCheck;
  /** Absent: every statement is unnamed. */
  readonly preparedStatements?: PreparedStatements;
}

/**
 * Goes beneath Kysely, for three reasons: rows come as plain texts ({@link TextQuery}); a busy reader keeps its
 * connections from one statement to the next, unless others wait for one, where taking one from the pool costs as much as
 * a third of a statement; and a statement that does not heed its cancellation loses its connection, where Kysely would
 * wait for it without a limit. `npm run bench:micro` shows what that gains.
 */
export function createReader(connections: Connections, options: ReaderOptions = {}): Reader {
  const { onSent = () => {}, onRetry = () => {}, freshnessCheck, preparedStatements } = options;
  const kept: PooledConnection[] = [];
  let keepsConnections = true;
  // Without a next statement, a connection that is kept would never come back to what has begun to wait since.
  connections.onRecall(releaseKept);

  function releaseKept(): void {
    for (const client of kept.splice(0)) client.release();
  }

  async function take(): Promise<PooledConnection> {
    for (let client = kept.pop(); client !== undefined; client = kept.pop()) {
      if (client.isUsable) return client;
      client.release();
    }
    return await connections.take();
  }

  function giveBack(client: PooledConnection): void {
    if (!client.isUsable || !keepsConnections || connections.areAwaited) client.release();
    else kept.push(client);
  }

  function start(...queries: CompiledQuery[]): Statement {
    let cancelled = false;
    let wasSent = false;
    let running: PooledConnection | undefined;
    let cancelling: Promise<void> | undefined;
    let closeTimer: NodeJS.Timeout | undefined;
    keepsConnections = true;

    async function run(): Promise<readonly Row[]> {
      let retried = false;
      let failedPrepared: unknown;
      for (;;) {
        const client = await take();
        const prepared = failedPrepared === undefined ? preparedStatements?.on(client) : undefined;
        try {
          if (cancelled) throw new NotSent();
          running = client;
          wasSent = true;
          onSent();
          const rows = await ask(client, prepared);
          if (failedPrepared !== undefined) preparedStatements?.notKept(failedPrepared);
          return rows;
        } catch (error) {
          if (error instanceof NotSent) throw error;
          if (error instanceof StaleReplica) {
            client.retire();
            throw error;
          }
          if (prepared !== undefined && !cancelled && mayConcernPreparation(error)) {
            failedPrepared = error;
            continue;
          }
          const lost = isConnectionLost(error);
          if (lost) client.closeLost(error);
          if (!lost || retried || cancelled) throw error;
          retried = true;
          onRetry();
        } finally {
          running = undefined;
          clearTimeout(closeTimer);
          // A connection that is in use again must not be hit by the cancellation of its previous statement.
          if (cancelling !== undefined && client.isUsable) await cancelling;
          giveBack(client);
        }
      }
    }

    async function ask(client: PooledConnection, prepared?: PreparedOnConnection): Promise<readonly Row[]> {
      if (freshnessCheck === undefined) return await client.query(new TextQuery(queries, prepared)).rows;
      const all = [freshnessCheck.query, ...queries];
      return freshnessCheck.check(await client.query(new TextQuery(all, prepared)).rows);
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
        closeTimer = setTimeout(() => client.close(), cancelTimeout);
        cancelling = cancelStatement(client, cancelTimeout);
      },
    };
  }

  return {
    start,
    releaseConnections() {
      keepsConnections = false;
      releaseKept();
    },
  };
}
