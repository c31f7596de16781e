import type { Config } from "../config/config.ts";
import { abortable } from "../status/abort.ts";
import { openRetention, type PurgeProgress, type Retention } from "../store/jobs/retention.ts";
import type { Log } from "../telemetry/log.ts";
import { connectionOptions } from "./database.ts";
import { openUrl } from "./embedded.ts";

export type { PurgeProgress };

export interface PurgeCommand {
  /** In milliseconds, 24 hours at least. */
  readonly olderThan: number;
  /** Maximum number of rows in a batch, 1 to 5,000. */
  readonly batch: number;
  /** Only count what would be deleted. */
  readonly dryRun?: boolean;
}

/** Does the same as {@link purgeOver} in the configured or in the embedded database. */
export async function purgeApp(
  config: Config,
  command: PurgeCommand,
  log: Log,
  signal: AbortSignal,
  onBatch: (progress: PurgeProgress) => void,
): Promise<void> {
  await using database = await openUrl(config, log, signal);
  await using retention = openRetention(connectionOptions(config, database.url, log));
  await purgeOver(retention, command, log, signal, onBatch);
}

/**
 * Deletes expired jobs, or counts them, and logs the result.
 *
 * @param signal ends it after the batch that runs.
 * @throws what {@link Retention} does, the signal's reason.
 */
export async function purgeOver(
  retention: Pick<Retention, "purge" | "count" | "oldTransactions">,
  { olderThan, batch, dryRun }: PurgeCommand,
  log: Log,
  signal: AbortSignal,
  onBatch: (progress: PurgeProgress) => void,
): Promise<void> {
  if (dryRun) {
    const { jobs, oldest } = await abortable(retention.count(olderThan), signal);
    log.info({ jobs, oldest }, "would purge");
  } else {
    const startedAt = performance.now();
    const { outcome, purged, batches } = await retention.purge({ olderThan, batch, signal, onBatch });
    const totals = { purged, batches, duration_ms: Math.round(performance.now() - startedAt) };
    log.info(totals, outcome === "busy" ? "another purger is at work" : "purged");
    if (outcome !== "done") return;
  }
  const transactions = await abortable(retention.oldTransactions(), signal);
  if (transactions.length > 0) warnOfOldTransactions(log, transactions);
}

/** Logs that rows which were deleted stay in the table's files. */
export function warnOfOldTransactions(
  log: Log,
  transactions: Awaited<ReturnType<Retention["oldTransactions"]>>,
): void {
  log.warn(
    { transactions },
    "old transactions keep deleted rows from being removed: see docs/operate/retention.md#long-transactions",
  );
}
