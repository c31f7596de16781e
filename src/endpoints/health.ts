import type { DescService } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  Health,
  type HealthCheckRequestSchema,
  type HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../gen/health/v1/health_pb.ts";
import { answerNow } from "../status/call.ts";
import type { Readiness } from "../status/readiness.ts";
import { quote } from "../status/req-id.ts";
import type { Endpoint, ServerStreamingEndpoint, UnaryEndpoint } from "./endpoint.ts";

/**
 * grpc.health.v1, whose proto says what each method answers. All services, and `""` for the whole server, are as ready as
 * the instance is.
 *
 * @param services those that a caller may name.
 */
export function health(readiness: Readiness, services: readonly DescService[]): Endpoint[] {
  const known = new Set(["", ...services.map((service) => service.typeName)]);
  return [check(readiness, known), list(readiness, known), watch(readiness, known)];
}

function check(
  readiness: Readiness,
  known: ReadonlySet<string>,
): UnaryEndpoint<typeof HealthCheckRequestSchema, typeof HealthCheckResponseSchema> {
  return {
    method: Health.method.check,
    isOpen: true,
    async handle({ service }) {
      if (!known.has(service)) throw unknownService(service, known);
      return { status: servingStatus(await readiness.ready()) };
    },
  };
}

function list(readiness: Readiness, known: ReadonlySet<string>): UnaryEndpoint {
  return {
    method: Health.method.list,
    isOpen: true,
    async handle() {
      const status = servingStatus(await readiness.ready());
      return { statuses: Object.fromEntries([...known].map((service) => [service, { status }])) };
    },
  };
}

/**
 * Does not outlive the server: on drain it sends NOT_SERVING and completes with OK, so that GOAWAY waits for none. The watch of
 * an unknown service stays at SERVICE_UNKNOWN and completes then, too. So does one over HTTP/1.1 whose caller ends its
 * sending side: it may have gone.
 */
function watch(
  readiness: Readiness,
  known: ReadonlySet<string>,
): ServerStreamingEndpoint<typeof HealthCheckRequestSchema, typeof HealthCheckResponseSchema> {
  return {
    method: Health.method.watch,
    heldAs: "health",
    isOpen: true,
    async *handle({ service }, call) {
      if (!known.has(service)) {
        yield { status: ServingStatus.SERVICE_UNKNOWN };
        await readiness.drained(call.signal);
        return;
      }
      let isAnswered = false;
      for await (const ready of readiness.watch(call.signal)) {
        isAnswered = true;
        yield { status: servingStatus(ready) };
      }
      if (call.reason === answerNow && !isAnswered) yield { status: servingStatus(await readiness.ready()) };
    },
  };
}

function servingStatus(ready: boolean): ServingStatus {
  return ready ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
}

function unknownService(service: string, known: ReadonlySet<string>): ConnectError {
  const wanted = [...known].map((name) => JSON.stringify(name)).join(" or ");
  return new ConnectError(`unknown service ${quote(service)} (want ${wanted})`, Code.NotFound);
}
