import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import {
  type GetStatusResponse,
  GetStatusResponse_Status,
  GetStatusResponseSchema,
  StatusService,
} from "../gen/gomemory/status/v1/status_pb.ts";
import { Call } from "../status/call.ts";
import type { StatusService as Statuses } from "../status/service.ts";
import { type JobStatus, StatusError } from "../status/status.ts";
import { isOurFault, toConnectError } from "./errors.ts";
import { codeName, type FinishedCall, type Observer, requestIdHeader, requestIdOf } from "./observer.ts";

/**
 * Serves StatusService over gRPC, gRPC-Web and Connect.
 *
 * @param requestTimeout the longest that a call may take, in milliseconds, whatever its caller's deadline.
 */
export function statusRoutes(
  statuses: Statuses,
  requestTimeout: number,
  observer: Observer,
): (router: ConnectRouter) => void {
  return (router) => {
    router.service(StatusService, {
      async getStatus({ reqId }, context) {
        const started = performance.now();
        try {
          const status = await statuses.getStatus(reqId, callOf(context, started, requestTimeout));
          observer.finished(finished(context, started, "OK"));
          return toResponse(status);
        } catch (reason) {
          const error = wireError(reason, context);
          const requestId = error.metadata.get(requestIdHeader) ?? undefined;
          observer.finished({
            ...finished(context, started, codeName(error.code)),
            error: reason,
            ...(requestId && { requestId }),
          });
          throw error;
        }
      },
    });
  };
}

/** The message of one status. Its canonical JSON is what REST answers with. */
export function toResponse({ status, createdAt, error }: JobStatus): GetStatusResponse {
  return create(GetStatusResponseSchema, {
    status: GetStatusResponse_Status[status],
    createdAt: timestampFromDate(createdAt),
    ...(error !== undefined && { error }),
  });
}

function callOf(context: HandlerContext, started: number, requestTimeout: number): Call {
  const call = new Call(started + Math.min(context.timeoutMs() ?? requestTimeout, requestTimeout));
  const { signal } = context;
  const cancel = () => call.cancel(signal.reason);
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel, { once: true });
  return call;
}

function wireError(reason: unknown, context: HandlerContext): ConnectError {
  const error = toWire(reason);
  if (isOurFault(error.code)) {
    error.metadata.set(requestIdHeader, requestIdOf(context.requestHeader.get(requestIdHeader)));
  }
  return error;
}

/** An error that nobody foresaw becomes INTERNAL, without its text: that may hold what no caller should see. */
function toWire(reason: unknown): ConnectError {
  if (reason instanceof StatusError) return toConnectError(reason);
  if (!(reason instanceof ConnectError)) {
    return new ConnectError("internal error", Code.Internal, undefined, undefined, reason);
  }
  // Connect watches the caller's deadline too. Whoever sees it pass first, the caller gets the same error.
  return reason.code === Code.DeadlineExceeded
    ? toConnectError(new StatusError("DEADLINE_EXCEEDED", "the status could not be read in time"))
    : reason;
}

function finished(context: HandlerContext, started: number, code: string): FinishedCall {
  return {
    protocol: context.protocolName as FinishedCall["protocol"],
    method: `${context.service.typeName}/${context.method.name}`,
    code,
    duration: performance.now() - started,
  };
}
