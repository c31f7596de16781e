import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type BatchGetStatusRequestSchema,
  type BatchGetStatusResponseSchema,
  type ItemSchema,
  StatusService,
} from "../gen/gomemory/status/v1/status_pb.ts";
import { StatusError } from "../status/errors.ts";
import { parseReqIds, type ReqId } from "../status/req-id.ts";
import type { StatusOutcome, StatusStore } from "../status/status-store.ts";
import type { UnaryEndpoint } from "./endpoint.ts";
import { toResponse } from "./status-message.ts";

/** `StatusService.BatchGetStatus`: the statuses of several requests, as the proto promises them. */
export function batchGetStatus(
  store: Pick<StatusStore, "findMany">,
): UnaryEndpoint<typeof BatchGetStatusRequestSchema, typeof BatchGetStatusResponseSchema> {
  return {
    method: StatusService.method.batchGetStatus,
    cost: ({ reqIds }) => Math.ceil(reqIds.length / 32),
    async handle({ reqIds: texts }, call) {
      call.asked = texts[0];
      const reqIds = parseReqIds(texts);
      const outcomes = await store.findMany(reqIds, call);
      return { items: reqIds.map((reqId) => toItem(reqId, outcomes.get(reqId))) };
    },
  };
}

function toItem(reqId: ReqId, outcome: StatusOutcome): MessageInitShape<typeof ItemSchema> {
  if (outcome === undefined)
    return { reqId, outcome: { case: "error", value: { reason: "STATUS_NOT_FOUND" } } };
  if (outcome instanceof StatusError) {
    return { reqId, outcome: { case: "error", value: { reason: outcome.reason } } };
  }
  return { reqId, outcome: { case: "status", value: toResponse(outcome) } };
}
