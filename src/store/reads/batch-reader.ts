import type { Breaker } from "../connections/breaker.ts";
import type { Connections } from "../connections/connections.ts";
import type { Engine } from "../schema/engine.ts";
import type { Batch } from "./batch.ts";
import type { FreshnessCheck } from "./freshness-check.ts";
import { createPreparedStatements, type PreparedStatementsOptions } from "./prepared-statements.ts";
import { createReader } from "./reader.ts";
import { statusQueries } from "./status-query.ts";
import type { Row } from "./text-query.ts";

/** What became of a statement: `abandoned` when no call waited for its answer any more. */
type StatementOutcome = "answered" | "abandoned" | { readonly failure: unknown };

/** Reads the statuses of a batch, with one statement. */
export interface BatchReader {
  /**
   * Sends the statement of a batch, and settles the calls that it has an answer for.
   *
   * @param onFinished called when the statement has ended, before its calls go on: the next statement need not wait until
   *   their answers are written. A statement that no call waits for any more has ended, too.
   */
  read(batch: Batch, onFinished: () => void): Promise<StatementOutcome>;
  /** Lets others have the connections that are kept for the next statement. */
  releaseConnections(): void;
}

export interface BatchReaderOptions extends PreparedStatementsOptions {
  /** Called for each statement. @param ids how many it asks for. */
  readonly onStatement?: (ids: number) => void;
  /** Called for each statement that failed. */
  readonly onFailure?: (error: unknown) => void;
  /** Called for each statement that is run once more, since its connection was lost. */
  readonly onRetry?: () => void;
  /** What is known of the engine. Absent: it is a plain server. */
  readonly engine?: Engine;
  /** For a replica, which each statement then checks. */
  readonly freshnessCheck?: FreshnessCheck;
}

export function createBatchReader(
  connections: Connections,
  options: BatchReaderOptions,
  breaker: Breaker,
): BatchReader {
  const {
    onStatement = () => {},
    onFailure = () => {},
    onRetry = () => {},
    freshnessCheck,
    engine,
  } = options;
  const queries = statusQueries(connections.db);
  const reader = createReader(connections, {
    onSent: breaker.sent,
    onRetry,
    preparedStatements: createPreparedStatements({
      ...options,
      mayPrepare: (sql) => !engine?.isDistributed || queries.prunesAtRunTime(sql),
    }),
    ...(freshnessCheck !== undefined && { freshnessCheck }),
  });

  return {
    async read(batch, onFinished) {
      const startedAt = performance.now();
      const ids = batch.ids();
      onStatement(ids.length);
      const statement = reader.start(batch.kind.isPolled ? queries.polledByIds(ids) : queries.byIds(ids));
      batch.sent(statement, onFinished);
      let rows: readonly Row[];
      try {
        rows = await statement.rows;
      } catch (failure) {
        // That it was cancelled is no answer: a locked table lets statements be cancelled, and answers none.
        if (batch.isAbandoned) return "abandoned";
        onFailure(failure);
        breaker.failed(failure, startedAt);
        batch.finish();
        return { failure };
      }
      breaker.answered();
      if (batch.isAbandoned) return "abandoned";
      try {
        batch.resolve(rows, ids);
        return "answered";
      } catch (failure) {
        onFailure(failure);
        return { failure };
      } finally {
        batch.finish();
      }
    },
    releaseConnections: reader.releaseConnections,
  };
}
