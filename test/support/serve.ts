import type { Endpoint } from "../../src/endpoints/endpoint.ts";
import { createLife } from "../../src/endpoints/life.ts";
import { createFastPath } from "../../src/protocols/grpc/fast-path.ts";
import type { Limits } from "../../src/server/limits.ts";
import { type Listener, listen } from "../../src/server/listener.ts";
import { createRouter, type RouterOptions } from "../../src/server/router.ts";
import { createAdmission } from "../../src/status/admission.ts";
import { createHolds, type Holds } from "../../src/status/holds.ts";

interface ServeOptions extends Omit<RouterOptions, "endpoints" | "life"> {
  /** Whether gRPC calls take the fast path. Default false: Connect's adapter answers them. */
  readonly withFastPath?: boolean;
  /** In milliseconds, as REQUEST_TIMEOUT. */
  readonly requestTimeout?: number;
  /** As SHUTDOWN_TIMEOUT. */
  readonly shutdownTimeout?: number;
  /** Of connections. */
  readonly limits?: Limits;
  /** Default: without limits. */
  readonly holds?: Holds;
}

const most = Number.POSITIVE_INFINITY;

/** The life of a call, without limits. */
export function openLife(
  requestTimeout = 60_000,
  holds = createHolds({ maxWaiting: most, maxConcurrentStreams: most }),
) {
  return createLife({
    admission: createAdmission({ maxInFlight: most, maxWhenBusy: most }),
    holds,
    requestTimeout,
  });
}

/** Serves endpoints over every protocol, without a database. Disposing of it drains the listener. */
export async function serveEndpoints(
  endpoints: readonly Endpoint[],
  options: ServeOptions = {},
): Promise<Listener & { readonly url: string }> {
  const {
    withFastPath = false,
    requestTimeout,
    shutdownTimeout = 1_000,
    limits,
    holds,
    ...routerOptions
  } = options;
  const life = openLife(requestTimeout, holds);
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    shutdownTimeout,
    ...(limits !== undefined && { limits }),
    handler: createRouter({ ...routerOptions, endpoints, life }),
    fastPath: withFastPath ? createFastPath(endpoints, life) : undefined,
  });
  return Object.assign(listener, { url: `http://127.0.0.1:${listener.address.port}` });
}
