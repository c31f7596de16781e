import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import manifest from "../../package.json" with { type: "json" };
import type { Config } from "../config/config.ts";
import { pathOfRpc } from "../endpoints/endpoint.ts";
import { createEndpoints } from "../endpoints/endpoints.ts";
import { createLife } from "../endpoints/life.ts";
import { admitEveryCall } from "../protocols/begin-call.ts";
import { createFastPath } from "../protocols/grpc/unary-fast-path.ts";
import { requireToken } from "../server/authentication.ts";
import { createCors } from "../server/cors.ts";
import { listen } from "../server/listener.ts";
import { createProbes, openProbes } from "../server/probes.ts";
import { createRouter } from "../server/router.ts";
import { createAdmission, createHoldLimit } from "../status/admission.ts";
import { createReadiness } from "../status/readiness.ts";
import type { EmbeddedPostgres } from "../store/embedded/embedded.ts";
import { provideSamples, type Sample } from "../store/embedded/samples.ts";
import { observeCalls } from "../telemetry/calls.ts";
import { type Log, type LogOutput, logCalls, logDroppedConnections } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { type Access, describeAccess, openTokensOf, tlsOptionsOf } from "./credentials.ts";
import { checkDatabase, migrateDatabase, openDatabaseOf, openReplicaOf, probeDatastore } from "./database.ts";
import { startMigration } from "./migration.ts";
import { connectionsWithin } from "./open-files.ts";

/** The running service. Disposing of it finishes running calls and closes everything, in reverse order. */
export interface App extends AsyncDisposable {
  readonly port: number;
  readonly access: Access;
  /** The database that was started along with the service, when none was given, and what there is to ask about. */
  readonly embedded?: { readonly postgres: EmbeddedPostgres; readonly samples: readonly Sample[] };
}

/** How often, in milliseconds, the database is asked for the sake of those who ask whether we are ready. */
const probeInterval = 500;

/** Where the database lives that is started when none is given. */
const dataDirectory = join(import.meta.dirname, "../..", ".data");

/**
 * @param signal gives up the start; nothing is left behind.
 * @param output where the log goes, to count what it cannot take.
 * @throws SchemaError when the database's schema is not ours; what the database says when it refuses to be migrated; what
 *   Node says when it cannot listen; the signal's reason. A database that does not answer is no reason to fail: the
 *   service is not ready until it does, and is migrated.
 */
export async function startApp(
  config: Config,
  log: Log,
  signal: AbortSignal,
  output?: LogOutput,
): Promise<App> {
  await using started = new AsyncDisposableStack();

  const postgres = await startDatabase(config, log, signal);
  if (postgres !== undefined) started.use(postgres);
  const url = postgres?.url ?? config.DATABASE_URL ?? "";
  if (postgres !== undefined) await migrateDatabase(config, url, log, signal);
  const migration =
    config.MIGRATE && postgres === undefined
      ? started.use(await startMigration(config, url, log, signal))
      : undefined;

  const metrics = config.METRICS === "on" ? createMetrics(manifest.version) : undefined;
  const database = started.use(openDatabaseOf(config, url, log, metrics));
  metrics?.watchPool(database.pool);
  if (output !== undefined) metrics?.watchLog(output.droppedLines);
  if (migration?.done ?? true) await checkDatabase(database, config, log, signal);
  const samples = postgres === undefined ? [] : await provideSamples(database.db);
  signal.throwIfAborted();

  const replica = openReplicaOf(config, database, log, metrics);
  if (replica !== undefined) started.use(replica);
  async function probe(attempt: AbortSignal): Promise<void> {
    migration?.check();
    await database.probe(attempt);
  }
  const readiness = createReadiness(probeDatastore({ ...database, probe }, replica), {
    interval: probeInterval,
    isStillDegraded: () => replica?.isWithinBound() === true,
    onChange(state, err) {
      metrics?.readiness(state);
      if (state === "ready") log.info("ready");
      else if (state === "degraded") log.warn("degraded: the primary does not answer, the replica does");
      // Without a cause, it is this service that is stopping.
      else if (err !== undefined) log.warn({ err }, "not ready");
    },
  });
  const tokens = openTokensOf(config, log);
  if (tokens !== undefined) started.use(tokens);
  const logDropped = logDroppedConnections(log);
  const listeners = [logCalls(log, config.LOG_REQUESTS)];
  if (metrics !== undefined) listeners.push(metrics.calls);
  if (metrics !== undefined && tokens !== undefined) listeners.push(metrics.watchCallers(tokens.names));
  const observe = observeCalls(listeners);
  const endpoints = createEndpoints((replica ?? database).statuses, readiness);
  const life = createLife({
    admission: createAdmission({ maxInFlight: config.MAX_IN_FLIGHT, maxWhenBusy: config.MAX_WHEN_BUSY }),
    holdLimit: createHoldLimit(config.MAX_WAITING),
    requestTimeout: config.REQUEST_TIMEOUT,
  });
  const open = new Set([...openProbes, ...endpoints.filter(({ isOpen }) => isOpen).map(pathOfRpc)]);
  const authenticate = tokens === undefined ? admitEveryCall : requireToken(tokens, open);
  const cors = config.CORS_ORIGINS && createCors(config.CORS_ORIGINS);
  const handler = createRouter({
    endpoints,
    life,
    probes: createProbes(readiness, metrics),
    maxMessageSize: config.MAX_MESSAGE_SIZE,
    maxReceivingSize: config.MAX_RECEIVING_SIZE,
    maxHeaderSize: config.MAX_HEADER_SIZE,
    observe,
    authenticate,
    cors,
  });
  const listener = started.use(
    await listen({
      host: config.HOST,
      port: config.PORT,
      shutdownTimeout: config.SHUTDOWN_TIMEOUT,
      limits: {
        maxConnections: connectionsWithin(config, log),
        maxConcurrentStreams: config.MAX_CONCURRENT_STREAMS,
        maxStreamResets: config.MAX_STREAM_RESETS,
        maxHeaderSize: config.MAX_HEADER_SIZE,
        peerTimeout: config.PEER_TIMEOUT,
        idleTimeout: config.IDLE_TIMEOUT,
        keepAliveTime: config.KEEPALIVE_TIME,
        keepAliveTimeout: config.KEEPALIVE_TIMEOUT,
        maxConnectionAge: config.MAX_CONNECTION_AGE,
        maxConnectionAgeGrace: config.MAX_CONNECTION_AGE_GRACE,
      },
      tls: tlsOptionsOf(config, log),
      handler,
      fastPath:
        config.GRPC_FAST_PATH === "on"
          ? createFastPath(endpoints, life, { observe, authenticate })
          : undefined,
      onCancelled: handler.cancelled,
      linesForUnread: cors?.linesForUnread,
      onDropped() {
        metrics?.connectionDropped();
        logDropped();
      },
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
    access: describeAccess(config, tokens),
    ...(postgres !== undefined && { embedded: { postgres, samples } }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Brings the schema up to this version, now or not at all. @throws as {@link migrateDatabase} does. */
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
  const { startEmbedded } = await import("../store/embedded/embedded.ts");
  return await startEmbedded({
    directory: dataDirectory,
    signal,
    log: (line) => log.debug({ line }, "postgres"),
  });
}
