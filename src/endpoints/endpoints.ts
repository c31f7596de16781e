import { file_google_rpc_error_details } from "../gen/google/rpc/error_details_pb.ts";
import { Health } from "../gen/health/v1/health_pb.ts";
import type { Readiness } from "../status/readiness.ts";
import type { StatusStore } from "../status/status-store.ts";
import type { Watching } from "../status/watching/watching.ts";
import { batchGetStatus } from "./batch-get-status.ts";
import type { Endpoint, ServerStreamingEndpoint } from "./endpoint.ts";
import { getStatus } from "./get-status.ts";
import { health } from "./health.ts";
import { reflection } from "./reflection.ts";
import { watchStatus } from "./watch-status.ts";

/**
 * Every RPC that is served. Whatever must know what that is reads this list: Connect's routes, the gRPC fast path, the REST
 * routes, reflection, authentication, metrics. A new RPC is a file beside this one and a line here.
 */
export function createEndpoints(
  store: StatusStore,
  watching: Watching,
  readiness: Readiness,
): readonly Endpoint[] {
  const watch = watchStatus(watching);
  const ours = [getStatus(store, watching, watch as ServerStreamingEndpoint), watch, batchGetStatus(store)];
  const services = [...new Set(ours.map(({ method }) => method.parent))];
  return [
    ...ours,
    ...health(readiness, services),
    ...reflection(readiness, [...services, Health], [file_google_rpc_error_details]),
  ];
}
