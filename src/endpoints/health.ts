import type { DescService } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "../gen/health/v1/health_pb.ts";
import { type HoldCall, holdCalls } from "../server/held-calls.ts";
import type { Readiness } from "../status/readiness.ts";

const wholeServer = "";

/** Where the RPCs are. */
export const healthPaths = Health.methods.map((method) => `/${Health.typeName}/${method.name}`);

/**
 * Registers grpc.health.v1, whose proto says what each method answers. All services, and `""` for the whole
 * server, are as ready as the instance is.
 *
 * A Watch does not outlive the server: on drain it sends NOT_SERVING and completes with OK, so that GOAWAY
 * waits for none. That of an unknown service stays at SERVICE_UNKNOWN and completes then too. So does one over HTTP/1.1 whose
 * caller ends its sending side: it may have gone.
 *
 * @param services those that a caller may name.
 * @param hold what a Watch is held by.
 */
export function healthRoutes(
  readiness: Readiness,
  services: readonly DescService[],
  hold: HoldCall = holdCalls(),
): (router: ConnectRouter) => void {
  const known = new Set([wholeServer, ...services.map((service) => service.typeName)]);

  return (router) => {
    router.service(Health, {
      async check({ service }) {
        if (!known.has(service)) throw unknownService(service, known);
        return { status: servingStatus(await readiness.ready()) };
      },

      async list() {
        const status = servingStatus(await readiness.ready());
        return { statuses: Object.fromEntries([...known].map((service) => [service, { status }])) };
      },

      async *watch({ service }, context) {
        using held = hold(context);
        if (known.has(service)) {
          let isTold = false;
          for await (const ready of readiness.watch(held.signal)) {
            isTold = true;
            yield { status: servingStatus(ready) };
          }
          if (held.isToAnswer && !isTold) yield { status: servingStatus(await readiness.ready()) };
        } else {
          yield { status: ServingStatus.SERVICE_UNKNOWN };
          await readiness.drained(held.signal);
        }
        // The caller's deadline is an error, drain is not.
        held.throwIfCancelled();
      },
    });
  };
}

function servingStatus(ready: boolean): ServingStatus {
  return ready ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
}

const longestQuote = 64;

function unknownService(service: string, known: ReadonlySet<string>): ConnectError {
  const quote = JSON.stringify(
    service.length > longestQuote ? `${service.slice(0, longestQuote)}…` : service,
  );
  const wanted = [...known].map((name) => JSON.stringify(name)).join(" or ");
  return new ConnectError(`unknown service ${quote} (want ${wanted})`, Code.NotFound);
}
