import {
  create,
  type DescMessage,
  type DescMethod,
  type MessageInitShape,
  toJsonString,
} from "@bufbuild/protobuf";
import {
  type BatchGetStatusResponseSchema,
  GetStatusResponse_Status,
  type GetStatusResponseSchema,
  StatusService,
} from "../../gen/gomemory/status/v1/status_pb.ts";
import { batchJson } from "./batch-json.ts";
import { statusJson } from "./status-json.ts";

/** How the responses of an RPC are written. */
export interface Writer<O extends DescMessage = DescMessage> {
  /** Writes the canonical JSON of a response. */
  toJson(response: MessageInitShape<O>): string;
  /** @returns the headers that a response has besides those of all. */
  headersOf?(response: MessageInitShape<O>): Readonly<Record<string, string>> | undefined;
}

/** When to ask again, in seconds, for those who do (RFC 9110, section 10.2.3). */
const retryAfter = { "Retry-After": "2" };

const { pending, processing } = GetStatusResponse_Status;

const ofGetStatus: Writer<typeof GetStatusResponseSchema> = {
  toJson: statusJson,
  headersOf: ({ status }) => (status === pending || status === processing ? retryAfter : undefined),
};

const ofBatchGetStatus: Writer<typeof BatchGetStatusResponseSchema> = { toJson: batchJson };

/** These write faster than protobuf-es, and exactly as it does. */
const writers = new Map<DescMethod, unknown>([
  [StatusService.method.getStatus, ofGetStatus],
  [StatusService.method.batchGetStatus, ofBatchGetStatus],
]);

export function writerOf(method: DescMethod): Writer {
  return (
    (writers.get(method) as Writer | undefined) ?? {
      toJson: (response) => toJsonString(method.output, create(method.output, response)),
    }
  );
}
