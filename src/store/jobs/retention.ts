import { setTimeout as pause } from "node:timers/promises";
import { type Kysely, sql } from "kysely";
import pg from "pg";
import { type Connections, openConnections } from "../connections/connections.ts";
import type { PoolOptions } from "../connections/pool.ts";
import { SchemaError } from "../schema/schema-error.ts";
import type { Tables } from "../schema/tables.ts";
import { findOldTransactions, type OldTransaction } from "./old-transactions.ts";
import { batchTimeout, mayFitWithFewerRows, purgeBatch } from "./purge-batch.ts";

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

/** The role may not execute memory_job_purge. */
export class PurgeDenied extends Error {
  override readonly name = "PurgeDenied";
}

/** @param options of its one connection: DATABASE_POOL_SIZE may be 1. */
export function openRetention(options: Omit<PoolOptions, "size">): Retention {
  const connections = openConnections({ ...options, size: 1 });
  const { db } = connections;

  /** @throws PurgeDenied, SchemaError, or the error itself. */
  async function explained<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      // Where the catalogs cannot be asked, the error stands for itself.
      throw await explainPurgeError(db, error).catch(() => error);
    }
  }

  return {
    purge: (options) => explained(purge(connections, options)),
    count: (olderThan) => explained(countPurgeable(db, olderThan)),
    oldTransactions: () => findOldTransactions(db),
    async [Symbol.asyncDispose]() {
      connections.cancelStatements();
      await connections[Symbol.asyncDispose]();
    },
  };
}

async function purge(connections: Connections, options: PurgeOptions): Promise<PurgeResult> {
  const { olderThan, signal, onBatch = () => {} } = options;
  let rows = options.batch;
  let purged = 0;
  let batches = 0;
  let oldest: Date | undefined;
  let newest: Date | undefined;
  while (!signal.aborted) {
    const begin = performance.now();
    try {
      const batch = await purgeBatch(connections, olderThan, rows, newest);
      if (batch === undefined) return { outcome: "busy", purged, batches };
      batches += 1;
      purged += batch.purged;
      oldest ??= batch.oldest;
      newest = batch.newest ?? newest;
      if (oldest && newest) onBatch({ purged, batches, oldest, newest, cutoff: batch.cutoff });
      if (batch.isLast) return { outcome: "done", purged, batches };
      if (performance.now() - begin < batchTimeout / 4) rows = Math.min(options.batch, rows * 2);
    } catch (error) {
      if (rows === 1 || !mayFitWithFewerRows(error)) throw error;
      rows = Math.ceil(rows / 2);
    }
    await pause(performance.now() - begin, undefined, { signal }).catch(() => {});
  }
  return { outcome: "stopped", purged, batches };
}

async function countPurgeable(db: Kysely<Tables>, olderThan: number): Promise<PurgeableJobs> {
  const { rows } = await sql<{ jobs: string; oldest: string | null }>`
    select jobs, (extract(epoch from oldest) * 1000)::bigint as oldest
    from memory_job_purgeable(make_interval(secs => ${olderThan / 1_000}))`.execute(db);
  const { jobs = 0, oldest = null } = rows[0] ?? {};
  return { jobs: Number(jobs), oldest: oldest === null ? undefined : new Date(Number(oldest)) };
}

const toGrant = "run deploy/roles.sql, and grant gomemory_purger to this role";

/** @returns the error that tells an operator what to do about one of the driver's, or that one itself. */
async function explainPurgeError(db: Kysely<Tables>, error: unknown): Promise<unknown> {
  if (!(error instanceof pg.DatabaseError)) return error;
  const { code, message } = error;
  // SQLSTATE insufficient_privilege: to execute the function, or of the function's owner.
  if (code === "42501") {
    const { rows } = await sql<{ may: boolean }>`
      select coalesce(has_function_privilege(to_regprocedure('memory_job_purge(interval, integer, timestamptz)'), 'execute'), false)
        as may`.execute(db);
    const hint = rows[0]?.may ? "this is what the owner of memory_job_purge may not" : toGrant;
    return new PurgeDenied(`${message}: ${hint}`, { cause: error });
  }
  // SQLSTATE undefined_function, undefined_table.
  if (code !== "42883" && code !== "42P01") return error;
  // PostgreSQL reports the same for a schema on which the role has no USAGE, or that is not on its search_path.
  const { rows } = await sql<{ schema: string; usable: boolean }>`
    select n.nspname as schema, has_schema_privilege(n.oid, 'usage') as usable
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where p.proname = 'memory_job_purge' order by usable desc`.execute(db);
  const [found] = rows;
  if (found === undefined) {
    return new SchemaError(`${message}: run \`npm run migrate\`, or start with MIGRATE=true`, {
      cause: error,
    });
  }
  if (found.usable) {
    const hint = `memory_job_purge is in schema ${found.schema}: set the search_path of this role to it`;
    return new SchemaError(`${message}: ${hint} (alter role … set search_path = …)`, { cause: error });
  }
  return new PurgeDenied(
    `${message}: memory_job_purge is in schema ${found.schema}, on which this role has no USAGE: ${toGrant}`,
    { cause: error },
  );
}
