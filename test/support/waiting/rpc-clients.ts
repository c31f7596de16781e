import { toJsonString } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { codeName } from "../../../src/endpoints/codes.ts";
import {
  BatchGetStatusResponseSchema,
  GetStatusResponseSchema,
  StatusService,
  WatchStatusResponseSchema,
} from "../../../src/gen/gomemory/status/v1/status_pb.ts";
import { BadRequestSchema, ErrorInfoSchema } from "../../../src/gen/google/rpc/error_details_pb.ts";

/** What an RPC failed with, over any protocol. */
export interface RpcFailure {
  readonly code: string;
  readonly reason: string | undefined;
  /** Of the request, if one is at fault. */
  readonly field: string | undefined;
}

/** How a caller waits over one protocol. Messages are their canonical JSON. */
export interface RpcClient {
  readonly name: string;
  /** @param wait in milliseconds. */
  wait(reqId: string, wait: number, timeoutMs?: number): Promise<string | RpcFailure>;
  /** @returns the events, and behind them the failure with which the stream ends, unless it ends with OK. */
  watch(reqIds: readonly string[], timeoutMs?: number): Promise<(string | RpcFailure)[]>;
  batch(reqIds: readonly string[]): Promise<string | RpcFailure>;
}

const versions = ["1.1", "2"] as const;

/** @returns a client for each protocol of RPCs, version of HTTP and format of messages. */
export function rpcClients(baseUrl: string): RpcClient[] {
  return [
    ...versions.flatMap((httpVersion) =>
      [true, false].map((useBinaryFormat) =>
        clientOf(
          `Connect, HTTP/${httpVersion}, ${useBinaryFormat ? "binary" : "JSON"}`,
          createConnectTransport({ baseUrl, httpVersion, useBinaryFormat }),
        ),
      ),
    ),
    ...versions.map((httpVersion) =>
      clientOf(`gRPC-Web, HTTP/${httpVersion}`, createGrpcWebTransport({ baseUrl, httpVersion })),
    ),
    clientOf("gRPC", createGrpcTransport({ baseUrl })),
  ];
}

function clientOf(name: string, transport: Transport): RpcClient {
  const client = createClient(StatusService, transport);
  return {
    name,
    wait: (reqId, wait, timeoutMs) =>
      answered(async () => {
        const request = { reqId, wait: durationFromMs(wait) };
        return toJsonString(GetStatusResponseSchema, await client.getStatus(request, options(timeoutMs)));
      }),
    async watch(reqIds, timeoutMs) {
      const events: (string | RpcFailure)[] = [];
      const end = await answered(async () => {
        for await (const event of client.watchStatus({ reqIds: [...reqIds] }, options(timeoutMs))) {
          events.push(toJsonString(WatchStatusResponseSchema, event));
        }
        return "OK";
      });
      return typeof end === "string" ? events : [...events, end];
    },
    batch: (reqIds) =>
      answered(async () => {
        const response = await client.batchGetStatus({ reqIds: [...reqIds] });
        return toJsonString(BatchGetStatusResponseSchema, response);
      }),
  };
}

function options(timeoutMs: number | undefined) {
  return timeoutMs === undefined ? {} : { timeoutMs };
}

async function answered(call: () => Promise<string>): Promise<string | RpcFailure> {
  try {
    return await call();
  } catch (reason) {
    const error = ConnectError.from(reason);
    const [info] = error.findDetails(ErrorInfoSchema);
    const [bad] = error.findDetails(BadRequestSchema);
    return { code: codeName(error.code), reason: info?.reason, field: bad?.fieldViolations[0]?.field };
  }
}
