import type { Config } from "../config/config.ts";
import { abortable } from "../status/abort.ts";
import { isLoginRefused } from "../store/connections/connection-loss.ts";
import { type Database, openDatabase } from "../store/database.ts";
import { openReplica, type Replica } from "../store/replica/replica.ts";
import { SchemaError } from "../store/schema/schema-error.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics/metrics.ts";
import type { DatabaseUrl } from "./database-url.ts";

/** The options of connections to the primary or to the replica. Their events are logged and counted. */
export function connectionOptions(config: Config, url: string, log: Log, metrics?: Metrics) {
  return {
    url,
    size: config.DATABASE_POOL_SIZE,
    connectTimeout: config.DATABASE_CONNECT_TIMEOUT,
    maxAge: config.DATABASE_CONNECTION_MAX_AGE,
    flushAt: config.BATCH_FLUSH_AT,
    // Each statement needs a connection of its own.
    maxInFlight: Math.min(config.BATCHES_IN_FLIGHT, config.DATABASE_POOL_SIZE),
    maxQueued: config.MAX_QUEUED,
    preparedStatements: config.PREPARED_STATEMENTS,
    onNotKept(err: unknown) {
      const next =
        config.PREPARED_STATEMENTS === "auto"
          ? "statements are unnamed for a minute"
          : "the read was repeated";
      log.warn({ err }, `a prepared statement was not kept: ${next}`);
    },
    onLost: (err: Error) => {
      metrics?.connectionLost();
      log.warn({ err }, "lost an idle connection to the database");
    },
    onLimited(err: unknown) {
      const why = isLoginRefused(err)
        ? "the database refuses this login: calls share the connections that are open"
        : "the database gives fewer connections than DATABASE_POOL_SIZE: calls share them";
      log.warn({ err }, why);
    },
    onNotReplaced(err: unknown) {
      log.warn({ err }, "a connection to the database cannot be replaced by a new one: it stays in use");
    },
    ...(metrics !== undefined && {
      onStatement: metrics.statement,
      onFailure: metrics.statementFailed,
      onRetry: metrics.statementRetried,
    }),
  };
}

/** Opens the database whose events are logged and counted. */
export function openPrimary(config: Config, url: DatabaseUrl, log: Log, metrics?: Metrics): Database {
  const primary = openDatabase({
    ...connectionOptions(config, url.current, log, metrics),
    onSchema(warnings) {
      for (const warning of warnings) log.warn(warning);
    },
    onBreaker(err) {
      metrics?.breakerOpen(err !== undefined);
      if (err === undefined) log.info("the database is back");
      else log.error({ err }, "the database is gone: calls are refused until it is back");
    },
  });
  url.onChange(primary.changeUrl);
  metrics?.watchPool(primary.pool);
  return primary;
}

/** Opens a replica of the primary, whose events are logged and counted. */
export function openReplicaOf(
  primary: Database,
  config: Config,
  url: DatabaseUrl,
  log: Log,
  metrics?: Metrics,
): Replica {
  const counts = metrics?.watchReplica(() => replica.serving());
  const replica: Replica = openReplica(primary, {
    ...connectionOptions(config, url.current, log, metrics),
    maxStaleness: config.REPLICA_MAX_STALENESS,
    onChange(err) {
      if (err === undefined) log.info("the replica serves");
      else log.warn({ err }, "the replica is suspended: the primary is asked");
    },
    ...(counts !== undefined && { onRead: counts.read, onReask: counts.reask }),
  });
  url.onChange(replica.changeUrl);
  return replica;
}

/**
 * Probes the database at the start, for a limited time. A database that does not answer is logged.
 *
 * @throws SchemaError, the signal's reason.
 */
export async function checkDatabase(
  database: Database,
  config: Config,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const timeout = AbortSignal.timeout(config.DATABASE_CONNECT_TIMEOUT + config.REQUEST_TIMEOUT);
  const limited = AbortSignal.any([signal, timeout]);
  try {
    await abortable(database.probe(limited), limited);
  } catch (err) {
    signal.throwIfAborted();
    if (err instanceof SchemaError) throw err;
    log.error({ err }, "the database does not answer: starting all the same, not ready until it does");
  }
}
