import { create } from "@bufbuild/protobuf";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import {
  type GetStatusRequestSchema,
  type GetStatusResponseSchema,
  StatusService,
  WatchStatusRequestSchema,
} from "../gen/gomemory/status/v1/status_pb.ts";
import { invalidWait, StatusError } from "../status/errors.ts";
import { parseReqId } from "../status/req-id.ts";
import type { StatusStore } from "../status/status-store.ts";
import type { Watching } from "../status/watching/watching.ts";
import type { ServerStreamingEndpoint, UnaryEndpoint } from "./endpoint.ts";
import { toResponse } from "./status-message.ts";

/**
 * `StatusService.GetStatus`: the status of one request, as the proto promises it.
 *
 * @param watch answers with events instead.
 */
export function getStatus(
  store: Pick<StatusStore, "find">,
  watching: Pick<Watching, "wait">,
  watch: ServerStreamingEndpoint,
): UnaryEndpoint<typeof GetStatusRequestSchema, typeof GetStatusResponseSchema> {
  return {
    method: StatusService.method.getStatus,
    cost: () => 1,
    isHeld: ({ wait }) => wait !== undefined && isValid(wait) && durationMs(wait) > 0,
    events: {
      endpoint: watch,
      toRequest: ({ reqId }) => create(WatchStatusRequestSchema, { reqIds: [reqId] }),
    },
    async handle({ reqId: text, wait }, call) {
      call.asked = text;
      const reqId = parseReqId(text);
      const milliseconds = wait === undefined ? 0 : readWait(wait);
      const status = await (milliseconds === 0
        ? store.find(reqId, call)
        : watching.wait(reqId, milliseconds, call));
      if (status === undefined) {
        throw new StatusError("STATUS_NOT_FOUND", `no status for request ${reqId} (unknown or expired)`);
      }
      return toResponse(status);
    },
  };
}

/** @throws StatusError `INVALID_WAIT`. */
function readWait(wait: Duration): number {
  if (isValid(wait)) return durationMs(wait);
  throw invalidWait();
}

/** The range of a google.protobuf.Duration, in seconds: 10,000 years. */
const longestDuration = 315_576_000_000n;

function isValid({ seconds, nanos }: Duration): boolean {
  return seconds >= 0n && seconds <= longestDuration && nanos >= 0 && nanos < 1_000_000_000;
}
