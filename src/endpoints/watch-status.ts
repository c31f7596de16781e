import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  StatusService,
  type WatchStatusRequestSchema,
  type WatchStatusResponseSchema,
} from "../gen/gomemory/status/v1/status_pb.ts";
import { parseReqIds } from "../status/req-id.ts";
import type { WatchEvent } from "../status/watching/watch.ts";
import type { Watching } from "../status/watching/watching.ts";
import type { ServerStreamingEndpoint } from "./endpoint.ts";
import { toResponse } from "./status-message.ts";

/** `StatusService.WatchStatus`: the statuses of several requests, and their changes, as the proto promises them. */
export function watchStatus(
  watching: Pick<Watching, "watch">,
): ServerStreamingEndpoint<typeof WatchStatusRequestSchema, typeof WatchStatusResponseSchema> {
  return {
    method: StatusService.method.watchStatus,
    heldAs: "watch",
    async *handle({ reqIds: texts }, call) {
      call.asked = texts[0];
      for await (const event of watching.watch(parseReqIds(texts), call)) yield toEvent(event);
    },
  };
}

function toEvent(event: WatchEvent): MessageInitShape<typeof WatchStatusResponseSchema> {
  switch (event.kind) {
    case "status": {
      const { reqId, status } = event;
      return { event: { case: "status", value: { reqId, status: toResponse(status) } } };
    }
    case "gone":
      return { event: { case: "gone", value: { reqId: event.reqId } } };
    case "heartbeat":
      return {
        event: {
          case: "heartbeat",
          value: { datastoreAnsweredAt: timestampFromDate(event.datastoreAnsweredAt) },
        },
      };
  }
}
