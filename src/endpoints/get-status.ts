import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import {
  GetStatusResponse_Status,
  type GetStatusResponseSchema,
  StatusService,
} from "../gen/gomemory/status/v1/status_pb.ts";
import { callInfoOf } from "../protocols/connect/rpc-call.ts";
import { gone, UnaryContext } from "../protocols/grpc/call-context.ts";
import { Call } from "../status/call.ts";
import { deadlineExceeded, StatusError } from "../status/errors.ts";
import type { StatusService as Statuses } from "../status/service.ts";
import type { JobStatus } from "../status/status.ts";
import { toConnectError } from "./errors.ts";

/** The full name of the one method, `package.Service/Method`. */
export const getStatusMethod = `${StatusService.typeName}/${StatusService.method.getStatus.name}`;

/**
 * Serves StatusService over gRPC, gRPC-Web and Connect.
 *
 * @param requestTimeout the longest that a call may take, in milliseconds, whatever its caller's deadline.
 */
export function statusRoutes(statuses: Statuses, requestTimeout: number): (router: ConnectRouter) => void {
  return (router) => {
    router.service(StatusService, {
      async getStatus({ reqId }, context) {
        const info = context instanceof UnaryContext ? context.info : callInfoOf(context);
        if (info !== undefined) info.asked = reqId;
        try {
          return toResponse(await statuses.getStatus(reqId, callOf(context, requestTimeout)));
        } catch (reason) {
          throw toWire(reason);
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

function callOf(context: HandlerContext, requestTimeout: number): Call {
  const call = new Call(performance.now() + Math.min(context.timeoutMs() ?? requestTimeout, requestTimeout));
  // Of the lane's calls, only this one would need a signal, and a signal costs more than the message.
  if (context instanceof UnaryContext) {
    context.call = call;
    return call;
  }
  const { signal } = context;
  const cancel = () => {
    const isLate = signal.reason instanceof ConnectError && signal.reason.code === Code.DeadlineExceeded;
    call.cancel(isLate ? signal.reason : gone);
  };
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel, { once: true });
  return call;
}

/** Connect turns any other error into INTERNAL, without its text: that may hold what no caller should see. */
function toWire(reason: unknown): unknown {
  if (reason instanceof StatusError) return toConnectError(reason);
  // Connect watches the caller's deadline too. Whoever sees it pass first, the caller gets the same error.
  const isLate = reason instanceof ConnectError && reason.code === Code.DeadlineExceeded;
  return isLate ? toConnectError(deadlineExceeded()) : reason;
}
