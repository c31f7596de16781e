import type { MessageInitShape } from "@bufbuild/protobuf";
import type { BatchGetStatusResponseSchema, ItemSchema } from "../../gen/gomemory/status/v1/status_pb.ts";
import { statusJson } from "./status-json.ts";

/**
 * The canonical JSON of a BatchGetStatusResponse whose items all have an id and an outcome, byte for byte: protobuf-es would
 * keep all other calls waiting while it writes a thousand. Proven equal by `test/protocols/json.test.ts`.
 */
export function batchJson({ items = [] }: MessageInitShape<typeof BatchGetStatusResponseSchema>): string {
  return items.length === 0 ? "{}" : `{"items":[${items.map(itemJson).join(",")}]}`;
}

function itemJson({ reqId = "", outcome, errorTruncated }: MessageInitShape<typeof ItemSchema>): string {
  const isStatus = outcome?.case === "status";
  const value = isStatus ? statusJson(outcome.value) : errorJson(outcome?.value?.reason);
  const truncated = errorTruncated ? `,"errorTruncated":true` : "";
  return `{"reqId":${JSON.stringify(reqId)},"${isStatus ? "status" : "error"}":${value}${truncated}}`;
}

function errorJson(reason = ""): string {
  return `{"reason":${JSON.stringify(reason)}}`;
}
