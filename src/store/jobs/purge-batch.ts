import pg from "pg";
import { isConnectionLost } from "../connections/connection-loss.ts";
import type { Connections } from "../connections/connections.ts";

/** What one batch has done. */
export interface PurgedBatch {
  readonly purged: number;
  /** `created_at` of the oldest and the newest row that was deleted. Undefined: none was. */
  readonly oldest: Date | undefined;
  readonly newest: Date | undefined;
  readonly cutoff: Date;
  /** Nothing older is left but rows that others have locked. */
  readonly isLast: boolean;
}

/** How long, in milliseconds, a batch may take. The role's `statement_timeout` may be shorter. */
export const batchTimeout = 5_000;

/** How long, in milliseconds, the answer to a batch is waited for. After this the connection is closed. */
const answerTimeout = 2 * batchTimeout;

interface Row {
  readonly purged: number;
  readonly oldest: string | null;
  readonly newest: string | null;
  readonly cutoff: string;
  readonly is_last: boolean;
}

/**
 * Deletes a batch of the oldest expired jobs, in a transaction.
 *
 * @param olderThan in milliseconds. @param notBefore where to begin, by `created_at`.
 * @returns undefined when another purger is at work. @throws the driver's error.
 */
export async function purgeBatch(
  connections: Pick<Connections, "take">,
  olderThan: number,
  rows: number,
  notBefore: Date | undefined,
): Promise<PurgedBatch | undefined> {
  const connection = await connections.take();
  const timer = setTimeout(() => connection.close(), answerTimeout);
  try {
    // Several statements in one query are one transaction without `begin`, which poolers in statement mode refuse. Such a query
    // has no parameters. Times leave as numbers, which no setting of the role formats in another way.
    const results: unknown = await connection.query(`
      set transaction isolation level read committed;
      select set_config('statement_timeout', least(nullif(setting::integer, 0), ${batchTimeout})::text, true)
      from pg_settings where name = 'statement_timeout';
      select purged, is_last, ${epoch("oldest")}, ${epoch("newest")}, ${epoch("cutoff")}
      from memory_job_purge('${olderThan / 1_000} seconds', ${rows}, '${notBefore?.toISOString() ?? "-infinity"}')`);
    const row = (results as pg.QueryResult<Row>[])[2]?.rows[0];
    return row && toBatch(row);
  } finally {
    clearTimeout(timer);
    connection.release();
  }
}

/** @returns the milliseconds of a time, as a column of the same name. */
function epoch(column: string): string {
  return `(extract(epoch from ${column}) * 1000)::bigint as ${column}`;
}

function toBatch({ purged, oldest, newest, cutoff, is_last }: Row): PurgedBatch {
  const date = (milliseconds: string | null) =>
    milliseconds === null ? undefined : new Date(Number(milliseconds));
  return {
    purged,
    oldest: date(oldest),
    newest: date(newest),
    cutoff: new Date(Number(cutoff)),
    isLast: is_last,
  };
}

/**
 * Whether a batch may succeed with fewer rows: it was cancelled, for instance since it took too long, or has collided with
 * another transaction. SQLSTATE query_canceled, serialization_failure, deadlock_detected.
 */
export function mayFitWithFewerRows(error: unknown): boolean {
  return (
    error instanceof pg.DatabaseError &&
    !isConnectionLost(error) &&
    /^(57014|40001|40P01)$/.test(error.code ?? "")
  );
}
