import { setTimeout as pause } from "node:timers/promises";
import manifest from "../../package.json" with { type: "json" };
import type { Config } from "../config/config.ts";
import { statusRoutes } from "../endpoints/get-status.ts";
import { healthPaths, healthRoutes } from "../endpoints/health.ts";
import { reflectionRoutes } from "../endpoints/reflection.ts";
import { StatusService } from "../gen/gomemory/status/v1/status_pb.ts";
import { file_google_rpc_error_details } from "../gen/google/rpc/error_details_pb.ts";
import { getStatusCodec } from "../protocols/grpc/status-codec.ts";
import { createGrpcUnaryLane } from "../protocols/grpc/unary-fast-path.ts";
import { createRest } from "../protocols/rest/rest.ts";
import { anyCaller, callersWithToken } from "../server/authentication.ts";
import { createCors } from "../server/cors.ts";
import { holdCalls } from "../server/held-calls.ts";
import { listen } from "../server/listener.ts";
import { createProbes, openProbes } from "../server/probes.ts";
import { createRouter } from "../server/router.ts";
import { createAdmission, createHoldLimit } from "../status/admission.ts";
import { createStatusService } from "../status/service.ts";
import { observeCalls } from "../telemetry/calls.ts";
import { type Log, type LogOutput, logDroppedConnections } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { type Access, describeAccess, openTokensOf, tlsOptionsOf } from "./credentials.ts";
import { type Embedded, openDatastore } from "./datastore.ts";
import { limitsOf } from "./limits.ts";
import { callListeners } from "./observation.ts";
import { readinessOf } from "./readiness.ts";

/** The running service. Disposing of it finishes calls in flight and closes everything, in reverse order. */
export interface App extends AsyncDisposable {
  readonly port: number;
  readonly access: Access;
  /** Present without a DATABASE_URL. */
  readonly embedded?: Embedded;
}

/** Of the methods that are called many thousand times a second. */
const codecs = new Map([[StatusService.method.getStatus, getStatusCodec]]);

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

  const statuses = createStatusService(
    datastore.statuses,
    createAdmission({ maxInFlight: config.MAX_IN_FLIGHT, maxWhenBusy: config.MAX_WHEN_BUSY }),
  );
  const tokens = openTokensOf(config, log);
  if (tokens !== undefined) started.use(tokens);
  const observe = observeCalls(callListeners(config, log, metrics, tokens));
  const open = new Set([...openProbes, ...healthPaths]);
  const authenticate = tokens === undefined ? anyCaller : callersWithToken(tokens, open);
  const hold = holdCalls(createHoldLimit(config.MAX_WAITING));
  const rpcs = [
    statusRoutes(statuses, config.REQUEST_TIMEOUT),
    healthRoutes(readiness, [StatusService], hold),
    reflectionRoutes(readiness, [file_google_rpc_error_details], hold),
  ];
  const lane =
    config.GRPC_FAST_PATH === "on" ? createGrpcUnaryLane(codecs, { observe, authenticate }) : undefined;
  const cors = config.CORS_ORIGINS && createCors(config.CORS_ORIGINS);
  const handler = createRouter({
    lane,
    maxMessageSize: config.MAX_MESSAGE_SIZE,
    maxReceivingSize: config.MAX_RECEIVING_SIZE,
    maxHeaderSize: config.MAX_HEADER_SIZE,
    rest: createRest(statuses, config.REQUEST_TIMEOUT, observe),
    probes: createProbes(readiness, metrics),
    rpcs,
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
      lane,
      onCancelled: handler.cancelled,
      linesForUnread: cors?.linesForUnread,
      onDropped() {
        metrics?.connectionDropped();
        logDropped();
      },
    }),
  );
  // Disposed of in reverse order: readiness reports "not ready" first, the delay lets load balancers notice, then the listener
  // closes.
  if (config.SHUTDOWN_DELAY !== undefined) started.defer(() => pause(config.SHUTDOWN_DELAY));
  started.use(readiness);
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
