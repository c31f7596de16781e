import type { PoolOptions } from "../connections/pool.ts";

/** Deletes expired jobs, over a connection of its own. Disposing of it closes that. */
export interface Retention extends AsyncDisposable {
  /**
   * Deletes the jobs that are older, in order of age, in batches, each a transaction; after each it pauses for as long as the
   * batch took. A batch that takes too long is repeated with half as many rows.
   *
   * @throws PurgeDenied; SchemaError when the schema has no function to purge with; the driver's error. What was deleted by
   *   then stays deleted.
   */
  purge(options: PurgeOptions): Promise<PurgeResult>;
  /** Counts the jobs that {@link purge} would delete, without deleting any. @throws as purge. */
  count(olderThan: number): Promise<PurgeableJobs>;
  /**
   * The transactions that keep the server from removing what was deleted, the oldest first: those that this role may see and
   * that are older than ten minutes, prepared transactions and replication slots among them.
   */
  oldTransactions(): Promise<readonly OldTransaction[]>;
}

export interface PurgeOptions {
  /** Milliseconds since `created_at`, by the database's clock. 24 hours at least. */
  readonly olderThan: number;
  /** Maximum number of rows in a batch, 1 to 5,000. */
  readonly batch: number;
  /** Ends the purge after the batch that runs. */
  readonly signal: AbortSignal;
  /** Called after each batch. */
  readonly onBatch?: (progress: PurgeProgress) => void;
}

export interface PurgeProgress {
  /** Rows deleted so far, by this purge. */
  readonly purged: number;
  readonly batches: number;
  /** `created_at` of the oldest row that this purge has deleted, and of the newest one. */
  readonly oldest: Date;
  readonly newest: Date;
  /** What is older is to be deleted. */
  readonly cutoff: Date;
}

export interface PurgeResult {
  /** `done`: nothing older is left but rows that others have locked; `stopped`: by the signal; `busy`: another purger is at work. */
  readonly outcome: "done" | "stopped" | "busy";
  readonly purged: number;
  readonly batches: number;
}

export interface PurgeableJobs {
  readonly jobs: number;
  /** `created_at` of the oldest of them. Undefined: there are none. */
  readonly oldest: Date | undefined;
}

export interface OldTransaction {
  /** For people: the process, its role and application as far as they are known, or the slot or the prepared transaction. */
  readonly holder: string;
  /** When it began. Undefined: not known. */
  readonly since: Date | undefined;
}

/** The role may not execute memory_job_purge. */
export class PurgeDenied extends Error {
  override readonly name = "PurgeDenied";
}

export function openRetention(_options: Omit<PoolOptions, "size">): Retention {
  throw new PurgeDenied("not implemented");
}
