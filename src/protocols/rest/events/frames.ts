import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  GetStatusResponse_Status,
  type GetStatusResponseSchema,
  type WatchStatusResponseSchema,
} from "../../../gen/gomemory/status/v1/status_pb.ts";
import { statusId, statusJson } from "../status-json.ts";

type Status = MessageInitShape<typeof GetStatusResponseSchema>;

/** One event as it is written (HTML standard, "Server-sent events"). */
export interface Frame {
  readonly text: string;
  /** Why there is no event behind it, unless there is. */
  readonly last?: "FINAL" | "GONE" | undefined;
  /** What a caller that comes back sends as `Last-Event-ID`. */
  readonly id?: string;
}

/** Clients and proxies see that the stream is alive. */
const comment: Frame = { text: ":\n\n" };

export function toFrame({ event }: MessageInitShape<typeof WatchStatusResponseSchema>): Frame {
  switch (event?.case) {
    case "status":
      return statusFrame(event.value.status ?? {});
    case "gone":
      return { text: eventText("gone", { reqId: event.value.reqId }), last: "GONE" };
    default:
      return comment;
  }
}

function statusFrame(status: Status): Frame {
  const { success, failure } = GetStatusResponse_Status;
  const isFinal = status.status === success || status.status === failure;
  const id = statusId(status);
  return {
    text: `id: ${id}\nevent: status\ndata: ${statusJson(status)}\n\n`,
    last: isFinal ? "FINAL" : undefined,
    id,
  };
}

/** JSON has no line break, so that all of it is one field. */
export function eventText(
  name: "gone" | "end" | "unavailable",
  data: Readonly<Record<string, unknown>>,
): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}
