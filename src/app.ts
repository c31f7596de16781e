import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import manifest from "../package.json" with { type: "json" };
import type { Config } from "./config.ts";
import { StatusService } from "./gen/gomemory/status/v1/status_pb.ts";
import { file_google_rpc_error_details } from "./gen/google/rpc/error_details_pb.ts";
import { statusRoutes } from "./protocols/connect.ts";
import { createGrpcUnaryLane } from "./protocols/grpc-unary.ts";
import { healthRoutes } from "./protocols/health.ts";
import { listen } from "./protocols/listener.ts";
import type { Observe } from "./protocols/observer.ts";
import { createProbes } from "./protocols/probes.ts";
import { createReadiness } from "./protocols/readiness.ts";
import { reflectionRoutes } from "./protocols/reflection.ts";
import { createRest } from "./protocols/rest.ts";
import { createRouter } from "./protocols/router.ts";
import { getStatusCodec } from "./protocols/status-codec.ts";
import { createAdmission } from "./status/admission.ts";
import { createStatusService } from "./status/service.ts";
import { type Database, openDatabase } from "./store/database.ts";
import type { EmbeddedPostgres } from "./store/embedded.ts";
import { migrate, SchemaError } from "./store/migrate.ts";
import { openReplica, type Replica } from "./store/replica.ts";
import { provideSamples, type Sample } from "./store/samples.ts";
import { type Log, logCalls } from "./telemetry/log.ts";
import { createMetrics, type Metrics } from "./telemetry/metrics.ts";

/** The running service. Disposing of it finishes running calls and closes everything, in reverse order. */
export interface App extends AsyncDisposable {
  readonly port: number;
  /** The database that was started along with the service, when none was given, and what there is to ask about. */
  readonly embedded?: { readonly postgres: EmbeddedPostgres; readonly samples: readonly Sample[] };
}

/** Of the methods that are called many thousand times a second. */
const codecs = new Map([[StatusService.method.getStatus, getStatusCodec]]);

/** How often, in milliseconds, the database is asked for the sake of those who ask whether we are ready. */
const probeInterval = 500;

/** Where the database lives that is started when none is given. */
const dataDirectory = join(import.meta.dirname, "..", ".data");

/**
 * @param signal gives up the start; nothing is left behind.
 * @throws SchemaError when the database's schema is not ours; what Node says when it cannot listen; the signal's
 *   reason. A database that does not answer is no reason to fail: the service is not ready until it does.
 */
export async function startApp(config: Config, log: Log, signal: AbortSignal): Promise<App> {
  await using started = new AsyncDisposableStack();

  const postgres = await startDatabase(config, log, signal);
  if (postgres !== undefined) started.use(postgres);
  const url = postgres?.url ?? config.DATABASE_URL ?? "";
  if (postgres !== undefined || config.MIGRATE) await migrateDatabase(config, url, log, signal);

  const metrics = config.METRICS === "on" ? createMetrics(manifest.version) : undefined;
  const database = started.use(openDatabaseOf(config, url, log, metrics));
  metrics?.watchPool(database.pool);
  await checkDatabase(database, config, log, signal);
  const samples = postgres === undefined ? [] : await provideSamples(database.db);
  signal.throwIfAborted();

  const readiness = createReadiness(database.probe, {
    interval: probeInterval,
    onChange(ready, err) {
      if (ready) log.info("ready");
      // Without a cause it is we who are going.
      else if (err !== undefined) log.warn({ err }, "not ready");
    },
  });
  const replica = openReplicaOf(config, database, log, metrics);
  if (replica !== undefined) started.use(replica);
  const statuses = createStatusService(
    (replica ?? database).statuses,
    createAdmission({ maxInFlight: config.MAX_IN_FLIGHT, maxPerTurn: config.MAX_PER_TURN }),
  );
  const observe = observeWith(logCalls(log, config.LOG_REQUESTS), metrics);
  const lane = config.GRPC_LANE === "on" ? createGrpcUnaryLane(codecs) : undefined;
  const listener = started.use(
    await listen({
      host: config.HOST,
      port: config.PORT,
      shutdownTimeout: config.SHUTDOWN_TIMEOUT,
      limits: {
        maxConnections: config.MAX_CONNECTIONS,
        maxConcurrentStreams: config.MAX_CONCURRENT_STREAMS,
        maxStreamResets: config.MAX_STREAM_RESETS,
        maxHeaderSize: config.MAX_HEADER_SIZE,
        peerTimeout: config.PEER_TIMEOUT,
        idleTimeout: config.IDLE_TIMEOUT,
      },
      lane,
      handler: createRouter({
        lane,
        maxMessageSize: config.MAX_MESSAGE_SIZE,
        rest: createRest(statuses, config.REQUEST_TIMEOUT, observe),
        probes: createProbes(readiness, metrics),
        rpcs: [
          statusRoutes(statuses, config.REQUEST_TIMEOUT, observe),
          healthRoutes(readiness, [StatusService]),
          reflectionRoutes(readiness, [file_google_rpc_error_details]),
        ],
      }),
    }),
  );
  // Last in, first out: whoever asks is told that we are going, and may notice, before the listener closes.
  if (config.SHUTDOWN_DELAY !== undefined) started.defer(() => pause(config.SHUTDOWN_DELAY));
  started.use(readiness);
  await readiness.ready();
  signal.throwIfAborted();

  const running = started.move();
  return {
    port: listener.address.port,
    ...(postgres !== undefined && { embedded: { postgres, samples } }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Brings the schema up to this version. @throws SchemaError, what the driver says, the signal's reason. */
export async function migrateApp(config: Config, log: Log, signal: AbortSignal): Promise<void> {
  await using postgres = await startDatabase(config, log, signal);
  await migrateDatabase(config, postgres?.url ?? config.DATABASE_URL ?? "", log, signal);
}

async function startDatabase(
  config: Config,
  log: Log,
  signal: AbortSignal,
): Promise<EmbeddedPostgres | undefined> {
  if (config.DATABASE_URL !== undefined) return undefined;
  const { startEmbedded } = await import("./store/embedded.ts");
  return await startEmbedded({
    directory: dataDirectory,
    signal,
    log: (line) => log.debug({ line }, "postgres"),
  });
}

async function migrateDatabase(config: Config, url: string, log: Log, signal: AbortSignal): Promise<void> {
  await using database = openDatabaseOf(config, url, log);
  const migrations = await orAborted(migrate(database.db), signal);
  log.info(
    { migrations },
    migrations.length > 0 ? "migrated the database" : "the database needs no migration",
  );
}

/** Logs and counts. What neither wants costs nothing. */
function observeWith(logCall: ReturnType<typeof logCalls>, metrics: Metrics | undefined): Observe {
  return (protocol, method) => {
    const log = logCall(protocol, method);
    const calls = metrics?.calls(protocol, method);
    return {
      started: () => calls?.started(),
      finished(code, duration, failure) {
        calls?.finished(code, duration);
        log(code, duration, failure);
      },
    };
  };
}

function databaseOptions(config: Config, url: string, log: Log, metrics?: Metrics) {
  return {
    url,
    size: config.DATABASE_POOL_SIZE,
    connectTimeout: config.DATABASE_CONNECT_TIMEOUT,
    ttl: config.STATUS_TTL,
    flushAt: config.BATCH_FLUSH_AT,
    maxInFlight: config.BATCHES_IN_FLIGHT,
    maxQueued: config.MAX_QUEUED,
    onLost: (err: Error) => {
      metrics?.connectionLost();
      log.warn({ err }, "lost an idle connection to the database");
    },
    ...(metrics !== undefined && {
      onStatement: metrics.statement,
      onFailure: metrics.statementFailed,
      onRetry: metrics.statementRetried,
    }),
  };
}

function openDatabaseOf(config: Config, url: string, log: Log, metrics?: Metrics): Database {
  return openDatabase({
    ...databaseOptions(config, url, log, metrics),
    onBreaker(err) {
      metrics?.breakerOpen(err !== undefined);
      if (err === undefined) log.info("the database is back");
      else log.error({ err }, "the database is gone: calls are refused until it is back");
    },
  });
}

function openReplicaOf(
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
      else log.warn({ err }, "the replica does not serve: the primary is asked");
    },
    ...(counts !== undefined && { onRead: counts.read, onReask: counts.reask }),
  });
  return replica;
}

async function checkDatabase(
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
async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
