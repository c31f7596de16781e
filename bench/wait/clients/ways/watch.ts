import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  GetStatusResponse_StatusSchema,
  WatchStatusRequestSchema,
  WatchStatusResponseSchema,
} from "../../../../src/gen/gomemory/status/v1/status_pb.ts";
import type { Request } from "../connections.ts";
import { goneState, type State } from "../states.ts";
import { brokenOff, nothingMore, type Reader, shed } from "./reader.ts";

const headers = { "content-type": "application/grpc", te: "trailers", "user-agent": "grpc-go/1.85.0" };
/** gRPC's flag and length in front of a message. */
const prefixLength = 5;

/** `WatchStatus` over gRPC. */
export function watchRequest(reqIds: readonly string[]): Request {
  const message = toBinary(
    WatchStatusRequestSchema,
    create(WatchStatusRequestSchema, { reqIds: [...reqIds] }),
  );
  const prefix = Buffer.alloc(prefixLength);
  prefix.writeUInt32BE(message.length, 1);
  return {
    path: "/gomemory.status.v1.StatusService/WatchStatus",
    headers,
    body: Buffer.concat([prefix, message]),
  };
}

export function watchReader(): Reader {
  let rest: Buffer | undefined;
  return {
    read(bytes) {
      const input = rest === undefined ? bytes : Buffer.concat([rest, bytes]);
      const states: State[] = [];
      let at = 0;
      while (at + prefixLength <= input.length) {
        const end = at + prefixLength + input.readUInt32BE(at + 1);
        if (end > input.length) break;
        const state = stateOf(input.subarray(at + prefixLength, end));
        if (state !== undefined) states.push(state);
        at = end;
      }
      rest = at < input.length ? input.subarray(at) : undefined;
      return states;
    },
    end({ grpcStatus, isWhole }) {
      return { states: nothingMore, outcome: isWhole ? outcomeOf(grpcStatus) : brokenOff };
    },
  };
}

/** SLOW_CONSUMER has the same status as OVERLOADED, but no client of the benchmark is slow unless it means to be. */
function outcomeOf(grpcStatus: string | undefined): string {
  const outcomes: Readonly<Record<string, string>> = { 0: "OK", 8: shed };
  if (grpcStatus === undefined) return brokenOff;
  return outcomes[grpcStatus] ?? `grpc-status ${grpcStatus}`;
}

/** @returns undefined for a heartbeat. */
function stateOf(message: Uint8Array): State | undefined {
  const { event } = fromBinary(WatchStatusResponseSchema, message);
  if (event.case === "gone") return goneState(event.value.reqId);
  if (event.case !== "status") return undefined;
  const { reqId, status } = event.value;
  return {
    reqId,
    status: GetStatusResponse_StatusSchema.value[status?.status ?? 0]?.name as State["status"],
    createdAt: Number(status?.createdAt?.seconds),
    error: status?.error,
  };
}
