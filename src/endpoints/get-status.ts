import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type GetStatusRequestSchema,
  GetStatusResponse_Status,
  type GetStatusResponseSchema,
  StatusService,
} from "../gen/gomemory/status/v1/status_pb.ts";
import { StatusError } from "../status/errors.ts";
import { parseReqId } from "../status/req-id.ts";
import type { JobStatus } from "../status/status.ts";
import type { StatusStore } from "../status/status-store.ts";
import type { UnaryEndpoint } from "./endpoint.ts";

/** `StatusService.GetStatus`: the status of one request, as the proto promises it. */
export function getStatus(
  store: Pick<StatusStore, "find">,
): UnaryEndpoint<typeof GetStatusRequestSchema, typeof GetStatusResponseSchema> {
  return {
    method: StatusService.method.getStatus,
    cost: () => 1,
    async handle({ reqId: text }, call) {
      call.asked = text;
      const reqId = parseReqId(text);
      const status = await store.find(reqId, call);
      if (status === undefined) {
        throw new StatusError("STATUS_NOT_FOUND", `no status for request ${reqId} (unknown or expired)`);
      }
      return toResponse(status);
    },
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
