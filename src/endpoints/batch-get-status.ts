import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type BatchGetStatusRequestSchema,
  type BatchGetStatusResponseSchema,
  type ItemSchema,
  StatusService,
} from "../gen/gomemory/status/v1/status_pb.ts";
import { weightOf } from "../status/admission.ts";
import { StatusError, type StatusErrorReason } from "../status/errors.ts";
import { parseReqIds, type ReqId } from "../status/req-id.ts";
import type { StatusOutcome, StatusStore } from "../status/status-store.ts";
import { cutForBatch } from "./batch-error.ts";
import type { UnaryEndpoint } from "./endpoint.ts";
import { toResponse } from "./status-message.ts";

/** `StatusService.BatchGetStatus`: the statuses of several requests, as the proto promises them. */
export function batchGetStatus(
  store: Pick<StatusStore, "findMany">,
): UnaryEndpoint<typeof BatchGetStatusRequestSchema, typeof BatchGetStatusResponseSchema> {
  return {
    method: StatusService.method.batchGetStatus,
    cost: ({ reqIds }) => weightOf(reqIds.length),
    isBatch: true,
    async handle({ reqIds: texts }, call) {
      call.asked = texts[0];
      const reqIds = parseReqIds(texts);
      const outcomes = await store.findMany(reqIds, call);
      const failure = failureOf(outcomes.values());
      if (failure !== undefined) throw failure;
      return { items: reqIds.map((reqId) => toItem(reqId, outcomes.get(reqId))) };
    },
  };
}

/** The reasons for which an id was not read. The others are about its row. */
const notRead: ReadonlySet<StatusErrorReason> = new Set([
  "DATASTORE_UNAVAILABLE",
  "DEADLINE_EXCEEDED",
  "OVERLOADED",
]);

/** @returns what a batch fails with of which no id was read: the failure of its first id. */
function failureOf(outcomes: Iterable<StatusOutcome>): StatusError | undefined {
  let first: StatusError | undefined;
  for (const outcome of outcomes) {
    if (!(outcome instanceof StatusError && notRead.has(outcome.reason))) return undefined;
    first ??= outcome;
  }
  return first;
}

function toItem(reqId: ReqId, outcome: StatusOutcome): MessageInitShape<typeof ItemSchema> {
  if (outcome === undefined)
    return { reqId, outcome: { case: "error", value: { reason: "STATUS_NOT_FOUND" } } };
  if (outcome instanceof StatusError) {
    return { reqId, outcome: { case: "error", value: { reason: outcome.reason } } };
  }
  const { error } = outcome;
  if (error === undefined) return { reqId, outcome: { case: "status", value: toResponse(outcome) } };
  const cut = cutForBatch(error);
  return {
    reqId,
    outcome: { case: "status", value: toResponse({ ...outcome, error: cut }) },
    errorTruncated: cut !== error,
  };
}
