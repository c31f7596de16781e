import { setTimeout as pause } from "node:timers/promises";
import manifest from "../../package.json" with { type: "json" };
import type { Config } from "../config/config.ts";
import { pathOfRpc } from "../endpoints/endpoint.ts";
import { createEndpoints } from "../endpoints/endpoints.ts";
import { createLife } from "../endpoints/life.ts";
import { admitEveryCall } from "../protocols/begin-call.ts";
import { createFastPath } from "../protocols/grpc/fast-path.ts";
import { requireToken } from "../server/authentication.ts";
import { createCors } from "../server/cors.ts";
import { listen } from "../server/listener.ts";
import { createProbes, openProbes } from "../server/probes.ts";
import { createRouter } from "../server/router.ts";
import { createAdmission } from "../status/admission.ts";
import { createHolds } from "../status/holds.ts";
import { createWatching } from "../status/watching/watching.ts";
import { observeCalls } from "../telemetry/calls.ts";
import { logDroppedConnections } from "../telemetry/connection-log.ts";
import type { Log } from "../telemetry/log.ts";
import type { LogOutput } from "../telemetry/log-output.ts";
import { createMetrics } from "../telemetry/metrics/metrics.ts";
import { type Access, describeAccess, openTokensOf, tlsOptionsOf } from "./credentials.ts";
import { type Embedded, openDatastore } from "./datastore.ts";
import { limitsOf } from "./limits.ts";
import { callListeners } from "./observation.ts";
import { readinessOf } from "./readiness.ts";

/** The part of SHUTDOWN_TIMEOUT in which held calls end, one after the other. The rest is for their answers. */
const shareOfShutdown = 0.7;

/** The running service. Disposing of it finishes calls in flight and closes everything, in reverse order. */
export interface App extends AsyncDisposable {
  readonly port: number;
  readonly access: Access;
  /** Present without a DATABASE_URL. */
  readonly embedded?: Embedded;
}

/**
 * Starts the service. A database that does not answer does not end the start: the service is not ready until it does.
 *
 * @param signal cancels the start; nothing is left behind.
 * @param output the destination of the log, whose dropped lines are counted.
 * @throws SchemaError when the service cannot work with the schema of the database; the error of a database that refuses
 *   to be migrated; the error of Node when it cannot listen; the signal's reason.
 */
export async function startApp(
  config: Config,
  log: Log,
  signal: AbortSignal,
  output?: LogOutput,
): Promise<App> {
  await using started = new AsyncDisposableStack();

  const metrics = config.METRICS === "on" ? createMetrics(manifest.version) : undefined;
  if (output !== undefined) metrics?.watchLog(output.droppedLines);
  const datastore = started.use(await openDatastore(config, log, signal, metrics));
  const readiness = readinessOf(datastore, log, metrics);
  const purging =
    config.PURGE === "on"
      ? (await import("./purging.ts")).startPurging(config, datastore.url, log, metrics?.watchPurges())
      : undefined;
  if (purging !== undefined) started.use(purging);

  const holds = createHolds({
    maxWaiting: config.MAX_WAITING,
    maxConcurrentStreams: config.MAX_CONCURRENT_STREAMS,
  });
  metrics?.watchHeld(holds.count);
  const tokens = openTokensOf(config, log, holds);
  if (tokens !== undefined) started.use(tokens);
  const observe = observeCalls(callListeners(config, log, metrics, tokens));
  const admission = createAdmission({ maxInFlight: config.MAX_IN_FLIGHT, maxWhenBusy: config.MAX_WHEN_BUSY });
  const watching = createWatching(datastore.statuses, {
    admission,
    maxWait: config.MAX_WAIT,
    maxWatched: config.MAX_WATCHED,
    maxWatchedPairs: config.MAX_WATCHED_PAIRS,
    requestTimeout: config.REQUEST_TIMEOUT,
    metrics,
  });
  started.use(watching);
  const endpoints = createEndpoints(datastore.statuses, watching, readiness);
  const life = createLife({ admission, holds, requestTimeout: config.REQUEST_TIMEOUT });
  const open = new Set([...openProbes, ...endpoints.filter(({ isOpen }) => isOpen).map(pathOfRpc)]);
  const authenticate = tokens === undefined ? admitEveryCall : requireToken(tokens, open);
  const cors = config.CORS_ORIGINS && createCors(config.CORS_ORIGINS);
  const handler = createRouter({
    endpoints,
    life,
    probes: createProbes(readiness, metrics),
    maxMessageSize: config.MAX_MESSAGE_SIZE,
    maxReceivingSize: config.MAX_RECEIVING_SIZE,
    maxWait: config.MAX_WAIT,
    maxHeaderSize: config.MAX_HEADER_SIZE,
    observe,
    authenticate,
    cors,
  });
  const logDropped = logDroppedConnections(log);
  const listener = started.use(
    await listen({
      host: config.HOST,
      port: config.PORT,
      shutdownTimeout: config.SHUTDOWN_TIMEOUT,
      limits: limitsOf(config, log),
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
  // Disposed of in reverse order: the purge is told to end, readiness reports "not ready", the delay lets load balancers notice,
  // then the listener closes, and what is held ends meanwhile.
  started.defer(() => watching.drain(shareOfShutdown * config.SHUTDOWN_TIMEOUT));
  if (config.SHUTDOWN_DELAY !== undefined) started.defer(() => pause(config.SHUTDOWN_DELAY));
  started.use(readiness);
  if (purging !== undefined) started.defer(purging.stop);
  await readiness.ready();
  signal.throwIfAborted();

  const running = started.move();
  return {
    port: listener.address.port,
    access: describeAccess(config, tokens),
    ...(datastore.embedded && { embedded: datastore.embedded }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
