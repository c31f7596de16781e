import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import {
  GetStatusResponse_Status,
  type GetStatusResponseSchema,
  StatusService,
} from "../gen/gomemory/status/v1/status_pb.ts";
import { Call } from "../status/call.ts";
import type { StatusService as Statuses } from "../status/service.ts";
import { deadlineExceeded, type JobStatus, StatusError } from "../status/status.ts";
import { isOurFault, toConnectError } from "./errors.ts";
import { type CallObserver, codeName, type Observe, requestIdHeader, requestIdOf } from "./observer.ts";
import { UnaryContext } from "./unary-context.ts";

/** The full name of the one method, `package.Service/Method`. */
export const getStatusMethod = `${StatusService.typeName}/${StatusService.method.getStatus.name}`;

/**
 * Serves StatusService over gRPC, gRPC-Web and Connect.
 *
 * @param requestTimeout the longest that a call may take, in milliseconds, whatever its caller's deadline.
 */
export function statusRoutes(
  statuses: Statuses,
  requestTimeout: number,
  observe: Observe,
): (router: ConnectRouter) => void {
  const observers: Record<string, CallObserver> = {
    grpc: observe("grpc", getStatusMethod),
    "grpc-web": observe("grpc-web", getStatusMethod),
    connect: observe("connect", getStatusMethod),
  };

  return (router) => {
    router.service(StatusService, {
      async getStatus({ reqId }, context) {
        const observer = observers[context.protocolName];
        const started = performance.now();
        observer?.started();
        try {
          const status = await statuses.getStatus(reqId, callOf(context, started, requestTimeout));
          observer?.finished("OK", performance.now() - started);
          return toResponse(status);
        } catch (reason) {
          const error = toWire(reason);
          let requestId: string | undefined;
          if (isOurFault(error.code)) {
            requestId = requestIdOf(context.requestHeader.get(requestIdHeader));
            error.metadata.set(requestIdHeader, requestId);
          }
          observer?.finished(codeName(error.code), performance.now() - started, { error: reason, requestId });
          throw error;
        }
      },
    });
  };
}

/** The message of one status. Its canonical JSON is what REST answers with. */
export function toResponse({
  status,
  createdAt,
  error,
}: JobStatus): MessageInitShape<typeof GetStatusResponseSchema> {
  const seconds = BigInt(createdAt.getTime() / 1000);
  return {
    status: GetStatusResponse_Status[status],
    createdAt: { seconds, nanos: 0 },
    ...(error !== undefined && { error }),
  };
}

function callOf(context: HandlerContext, started: number, requestTimeout: number): Call {
  const call = new Call(started + Math.min(context.timeoutMs() ?? requestTimeout, requestTimeout));
  // Of the lane's calls, only this one would need a signal, and a signal costs more than the message.
  if (context instanceof UnaryContext) {
    context.call = call;
    return call;
  }
  const { signal } = context;
  const cancel = () => call.cancel(signal.reason);
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel, { once: true });
  return call;
}

/** An error that nobody foresaw becomes INTERNAL, without its text: that may hold what no caller should see. */
function toWire(reason: unknown): ConnectError {
  if (reason instanceof StatusError) return toConnectError(reason);
  if (!(reason instanceof ConnectError)) {
    return new ConnectError("internal error", Code.Internal, undefined, undefined, reason);
  }
  // Connect watches the caller's deadline too. Whoever sees it pass first, the caller gets the same error.
  return reason.code === Code.DeadlineExceeded ? toConnectError(deadlineExceeded()) : reason;
}
