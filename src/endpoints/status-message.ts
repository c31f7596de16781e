import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  GetStatusResponse_Status,
  type GetStatusResponseSchema,
} from "../gen/gomemory/status/v1/status_pb.ts";
import type { JobStatus } from "../status/status.ts";

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
