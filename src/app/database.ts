import type { Config } from "../config/config.ts";
import type { DatastoreState } from "../status/readiness.ts";
import { type Database, openDatabase } from "../store/database.ts";
import { openReplica, type Replica } from "../store/replica/replica.ts";
import { openMigrator } from "../store/schema/migrator.ts";
import { newerSchema, SchemaError } from "../store/schema/schema.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/**
 * Brings the schema up to this version.
 *
 * @throws SchemaError, MigrationBlocked, what the driver says, the signal's reason: the statements are cancelled.
 */
export async function migrateDatabase(
  config: Config,
  url: string,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  await using migrator = openMigrator({ ...databaseOptions(config, url, log), signal });
  const { ran, unknown } = await orAborted(migrator.migrate(), signal);
  if (ran.length > 0) log.info({ migrations: ran }, "migrated the database");
  else if (unknown.length === 0) log.info({ migrations: ran }, "the database needs no migration");
  if (unknown.length > 0) log.warn(`${newerSchema(unknown)}: nothing is migrated`);
}

function databaseOptions(config: Config, url: string, log: Log, metrics?: Metrics) {
  return {
    url,
    size: config.DATABASE_POOL_SIZE,
    connectTimeout: config.DATABASE_CONNECT_TIMEOUT,
    flushAt: config.BATCH_FLUSH_AT,
    // Each statement needs a connection of its own.
    maxInFlight: Math.min(config.BATCHES_IN_FLIGHT, config.DATABASE_POOL_SIZE),
    maxQueued: config.MAX_QUEUED,
    onLost: (err: Error) => {
      metrics?.connectionLost();
      log.warn({ err }, "lost an idle connection to the database");
    },
    onLimited(err: unknown) {
      log.warn({ err }, "the database gives fewer connections than DATABASE_POOL_SIZE: calls share them");
    },
    ...(metrics !== undefined && {
      onStatement: metrics.statement,
      onFailure: metrics.statementFailed,
      onRetry: metrics.statementRetried,
    }),
  };
}

/** What happens to it is logged and counted. */
export function openDatabaseOf(config: Config, url: string, log: Log, metrics?: Metrics): Database {
  return openDatabase({
    ...databaseOptions(config, url, log, metrics),
    onSchema(warnings) {
      for (const warning of warnings) log.warn(warning);
    },
    onBreaker(err) {
      metrics?.breakerOpen(err !== undefined);
      if (err === undefined) log.info("the database is back");
      else log.error({ err }, "the database is gone: calls are refused until it is back");
    },
  });
}

/** @returns undefined when there is none. */
export function openReplicaOf(
  config: Config,
  primary: Database,
  log: Log,
  metrics: Metrics | undefined,
): Replica | undefined {
  if (config.DATABASE_READ_URL === undefined) return undefined;
  const counts = metrics?.watchReplica(() => replica.serving());
  const replica = openReplica(primary, {
    ...databaseOptions(config, config.DATABASE_READ_URL, log, metrics),
    maxStaleness: config.REPLICA_MAX_STALENESS,
    onChange(err) {
      if (err === undefined) log.info("the replica serves");
      else log.warn({ err }, "the replica is suspended: the primary is asked");
    },
    ...(counts !== undefined && { onRead: counts.read, onReask: counts.reask }),
  });
  return replica;
}

/**
 * How long, in milliseconds, the primary may take to answer when there is a replica to answer in its place: with what the
 * replica takes then, less than a probe may take.
 */
const primaryPatience = 700;

/**
 * @returns how the datastore is: `ready` when the primary answers, `degraded` when it does not and the replica answers
 *   within its bound. Rejects with what the primary's probe rejects with.
 */
export function probeDatastore(
  database: Pick<Database, "probe" | "isUnavailable">,
  replica: Replica | undefined,
): (signal: AbortSignal) => Promise<DatastoreState> {
  return async (signal) => {
    if (replica === undefined) {
      await database.probe(signal);
      return "ready";
    }
    // Known to be gone, the primary is probed by the breaker, and nothing waits for it here.
    if (database.isUnavailable() && (await replica.becomesCurrent())) return "degraded";
    try {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(primaryPatience)]);
      await orAborted(database.probe(patience), patience);
      return "ready";
    } catch (error) {
      if (!signal.aborted && (await replica.becomesCurrent())) return "degraded";
      throw error;
    }
  };
}

/** Waits for the database, but not for long. @throws SchemaError, the signal's reason. */
export async function checkDatabase(
  database: Database,
  config: Config,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const patience = AbortSignal.any([
    signal,
    AbortSignal.timeout(config.DATABASE_CONNECT_TIMEOUT + config.REQUEST_TIMEOUT),
  ]);
  try {
    await orAborted(database.probe(patience), patience);
  } catch (err) {
    signal.throwIfAborted();
    if (err instanceof SchemaError) throw err;
    log.error({ err }, "the database does not answer: starting all the same, not ready until it does");
  }
}

/** @throws the signal's reason, if it fires first. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
