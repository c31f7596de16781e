import { create, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import { codeName } from "../../src/endpoints/codes.ts";
import {
  type BatchGetStatusRequest,
  BatchGetStatusRequestSchema,
  type BatchGetStatusResponse,
  BatchGetStatusResponseSchema,
  StatusService,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { BadRequestSchema, ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { fromGrpcJs } from "./protocols.ts";

export const batchPath = `/${StatusService.typeName}/BatchGetStatus`;

/** What one id of a batch came to, in canonical JSON. */
export interface BatchItem {
  readonly reqId: string;
  readonly status?: { readonly status: string; readonly createdAt: string; readonly error?: string };
  readonly error?: { readonly reason: string };
  readonly errorTruncated?: boolean;
}

/** What a caller of a batch was told, in one form for all protocols. */
export type BatchAnswer =
  | readonly BatchItem[]
  | {
      readonly code: string | number;
      readonly reason?: string;
      readonly field?: string;
      readonly limit?: string;
    };

/** One way to ask for a batch, by a client with its default limits. */
export interface BatchProtocol {
  readonly name: string;
  readonly isRest?: true;
  /** Opens a client, asks, and closes it. */
  ask(url: string, reqIds: readonly string[]): Promise<BatchAnswer>;
}

export const batchProtocols: readonly BatchProtocol[] = [
  { name: "REST, HTTP/1.1", isRest: true, ask: overRest },
  ...(["1.1", "2"] as const).flatMap((httpVersion) => [
    ...[true, false].map((useBinaryFormat) => ({
      name: `Connect, HTTP/${httpVersion}, ${useBinaryFormat ? "binary" : "JSON"}`,
      ask: (baseUrl: string, reqIds: readonly string[]) =>
        overTransport(createConnectTransport({ baseUrl, httpVersion, useBinaryFormat }), reqIds),
    })),
    {
      name: `gRPC-Web, HTTP/${httpVersion}`,
      ask: (baseUrl: string, reqIds: readonly string[]) =>
        overTransport(createGrpcWebTransport({ baseUrl, httpVersion }), reqIds),
    },
  ]),
  ...[true, false].map((useBinaryFormat) => ({
    name: `gRPC, Connect's client, ${useBinaryFormat ? "binary" : "JSON"}`,
    ask: (baseUrl: string, reqIds: readonly string[]) =>
      overTransport(createGrpcTransport({ baseUrl, useBinaryFormat }), reqIds),
  })),
  { name: "gRPC, @grpc/grpc-js", ask: overGrpcJs },
];

async function overRest(url: string, reqIds: readonly string[]): Promise<BatchAnswer> {
  const response = await fetch(`${url}/get_status:batch`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ reqIds }),
  });
  if (response.status === 200) return ((await response.json()) as { items: BatchItem[] }).items;
  await response.body?.cancel();
  const limit = response.headers.get("error-limit");
  return {
    code: response.status,
    reason: response.headers.get("error-reason") ?? "",
    ...(limit !== null && { limit }),
  };
}

async function overTransport(transport: Transport, reqIds: readonly string[]): Promise<BatchAnswer> {
  try {
    return itemsOf(await createClient(StatusService, transport).batchGetStatus({ reqIds: [...reqIds] }));
  } catch (reason) {
    return failureOf(ConnectError.from(reason));
  }
}

const GrpcJsClient = grpc.makeGenericClientConstructor(
  {
    batchGetStatus: {
      path: batchPath,
      requestStream: false,
      responseStream: false,
      requestSerialize: (message: BatchGetStatusRequest) =>
        Buffer.from(toBinary(BatchGetStatusRequestSchema, message)),
      requestDeserialize: (bytes: Buffer) => fromBinary(BatchGetStatusRequestSchema, bytes),
      responseSerialize: (message: BatchGetStatusResponse) =>
        Buffer.from(toBinary(BatchGetStatusResponseSchema, message)),
      responseDeserialize: (bytes: Buffer) => fromBinary(BatchGetStatusResponseSchema, bytes),
    },
  },
  StatusService.typeName,
);

async function overGrpcJs(url: string, reqIds: readonly string[]): Promise<BatchAnswer> {
  const client = new GrpcJsClient(new URL(url).host, grpc.credentials.createInsecure());
  const request = create(BatchGetStatusRequestSchema, { reqIds: [...reqIds] });
  try {
    return await new Promise((resolve) =>
      client.batchGetStatus?.(
        request,
        (error: grpc.ServiceError | null, response?: BatchGetStatusResponse) => {
          if (response !== undefined) resolve(itemsOf(response));
          else if (error !== null) resolve(failureOf(fromGrpcJs(error)));
        },
      ),
    );
  } finally {
    client.close();
  }
}

function itemsOf(response: BatchGetStatusResponse): readonly BatchItem[] {
  return (toJson(BatchGetStatusResponseSchema, response) as { items?: BatchItem[] }).items ?? [];
}

function failureOf(error: ConnectError): BatchAnswer {
  const [info] = error.findDetails(ErrorInfoSchema);
  const [bad] = error.findDetails(BadRequestSchema);
  const field = bad?.fieldViolations[0]?.field;
  return {
    code: codeName(error.code),
    ...(info !== undefined && { reason: info.reason }),
    ...(field !== undefined && { field }),
    ...(info?.metadata.limit !== undefined && { limit: info.metadata.limit }),
  };
}
