import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { text } from "node:stream/consumers";
import { getCACertificates } from "node:tls";
import { create, fromBinary, toBinary, toJsonString } from "@bufbuild/protobuf";
import { ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import { codeName } from "../../src/endpoints/codes.ts";
import {
  type GetStatusRequest,
  GetStatusRequestSchema,
  type GetStatusResponse,
  GetStatusResponseSchema,
  StatusService,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "../../src/gen/google/rpc/error_details_pb.ts";

const sorry = "We are experiencing some techincal issues right now. Please try again after some time!";
/** The body of every 500. */
export const technicalIssues = `{"Error":"${sorry}","Message":"${sorry}","Status":500}`;

/** What a caller was told, in one form for all protocols. */
export type Answer =
  | { readonly json: string }
  | {
      /** As over gRPC, or the HTTP status over REST. */
      readonly code: string | number;
      readonly reason: string | undefined;
      /** REST: the body. RPC: the short names of the details that were sent along. */
      readonly more: string;
    };

interface AskOptions {
  /** The caller's own deadline, in milliseconds. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** One way to ask, which speaks with one server until it is closed. */
export interface Client {
  ask(reqId: string, options?: AskOptions): Promise<Answer>;
  close(): void;
}

export interface Protocol {
  readonly name: string;
  readonly isRest?: true;
  /** @param token that the client bears. */
  open(url: string, token?: string): Client;
}

/** Every way in which callers ask, each by a client that they use. */
export const protocols: readonly Protocol[] = [
  { name: "REST, HTTP/1.1", isRest: true, open: restOverHttp1 },
  { name: "REST, HTTP/2", isRest: true, open: restOverHttp2 },
  ...(["1.1", "2"] as const).flatMap((httpVersion) =>
    [true, false].flatMap((useBinaryFormat) =>
      [true, false].map((useHttpGet) => ({
        name: `Connect, HTTP/${httpVersion}, ${useBinaryFormat ? "binary" : "JSON"}, ${useHttpGet ? "GET" : "POST"}`,
        open: (baseUrl: string, token?: string) =>
          overTransport(
            createConnectTransport({
              baseUrl,
              httpVersion,
              useBinaryFormat,
              useHttpGet,
              interceptors: bearing(token),
            }),
          ),
      })),
    ),
  ),
  ...(["1.1", "2"] as const).map((httpVersion) => ({
    name: `gRPC-Web, HTTP/${httpVersion}`,
    open: (baseUrl: string, token?: string) =>
      overTransport(createGrpcWebTransport({ baseUrl, httpVersion, interceptors: bearing(token) })),
  })),
  {
    name: "gRPC, Connect's client",
    open: (baseUrl, token) => overTransport(createGrpcTransport({ baseUrl, interceptors: bearing(token) })),
  },
  { name: "gRPC, @grpc/grpc-js", open: openGrpcJs },
];

function authorization(token: string | undefined): { Authorization?: string } {
  return token === undefined ? {} : { Authorization: `Bearer ${token}` };
}

function bearing(token: string | undefined): Interceptor[] {
  if (token === undefined) return [];
  return [
    (next) => (request) => {
      request.header.set("Authorization", `Bearer ${token}`);
      return next(request);
    },
  ];
}

function restOverHttp1(url: string, token?: string): Client {
  const headers = authorization(token);
  return {
    async ask(reqId, { signal } = {}) {
      const path = `${url}/get_status/${encodeURIComponent(reqId)}`;
      const response = await fetch(path, { headers, signal: signal ?? null });
      return restAnswer(response.status, response.headers.get("error-reason"), await response.text());
    },
    close() {},
  };
}

function restOverHttp2(url: string, token?: string): Client {
  const session = connectHttp2(url);
  return {
    async ask(reqId, { signal } = {}) {
      const path = `/get_status/${encodeURIComponent(reqId)}`;
      const stream = session.request(
        { ":path": path, ...authorization(token) },
        { ...(signal && { signal }) },
      );
      const [headers] = (await once(stream, "response")) as [Record<string, string>];
      return restAnswer(Number(headers[":status"]), headers["error-reason"], await text(stream));
    },
    close: () => session.destroy(),
  };
}

function restAnswer(code: number, reason: string | null | undefined, body: string): Answer {
  return code === 200 ? { json: body } : { code, reason: reason ?? undefined, more: body };
}

function overTransport(transport: Transport): Client {
  const client = createClient(StatusService, transport);
  return {
    async ask(reqId, options) {
      try {
        return found(await client.getStatus({ reqId }, options));
      } catch (reason) {
        return rpcAnswer(ConnectError.from(reason));
      }
    },
    close() {},
  };
}

const GrpcJsClient = grpc.makeGenericClientConstructor(
  {
    getStatus: {
      path: `/${StatusService.typeName}/GetStatus`,
      requestStream: false,
      responseStream: false,
      requestSerialize: (message: GetStatusRequest) => Buffer.from(toBinary(GetStatusRequestSchema, message)),
      requestDeserialize: (bytes: Buffer) => fromBinary(GetStatusRequestSchema, bytes),
      responseSerialize: (message: GetStatusResponse) =>
        Buffer.from(toBinary(GetStatusResponseSchema, message)),
      responseDeserialize: (bytes: Buffer) => fromBinary(GetStatusResponseSchema, bytes),
    },
  },
  StatusService.typeName,
);

export function openGrpcJs(url: string, token?: string, options: grpc.ChannelOptions = {}): Client {
  const { protocol, host } = new URL(url);
  const { createSsl, createInsecure } = grpc.credentials;
  const roots = Buffer.from(getCACertificates("default").join("\n"));
  const credentials = protocol === "https:" ? createSsl(roots) : createInsecure();
  const client = new GrpcJsClient(host, credentials, options);
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(authorization(token))) metadata.set(name, value);
  return {
    ask(reqId, { timeoutMs, signal } = {}) {
      const callOptions = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
      return new Promise((resolve) => {
        const done = (error: grpc.ServiceError | null, response?: GetStatusResponse) => {
          if (response !== undefined) resolve(found(response));
          else if (error !== null) resolve(rpcAnswer(fromGrpcJs(error)));
        };
        const call = client.getStatus?.(
          create(GetStatusRequestSchema, { reqId }),
          metadata,
          callOptions,
          done,
        ) as grpc.ClientUnaryCall;
        signal?.addEventListener("abort", () => call.cancel());
      });
    },
    close: () => client.close(),
  };
}

export function fromGrpcJs(error: grpc.ServiceError): ConnectError {
  const [details] = error.metadata.get("grpc-status-details-bin");
  const trailer = new Headers({
    "grpc-status": String(error.code),
    "grpc-message": encodeURIComponent(error.details),
  });
  if (details !== undefined) trailer.set("grpc-status-details-bin", (details as Buffer).toString("base64"));
  return findTrailerError(trailer) ?? new ConnectError("no error in the trailers");
}

function found(response: GetStatusResponse): Answer {
  return { json: toJsonString(GetStatusResponseSchema, response) };
}

function rpcAnswer(error: ConnectError): Answer {
  const details = [ErrorInfoSchema, BadRequestSchema, RetryInfoSchema];
  const sent = details.filter((detail) => error.findDetails(detail).length > 0).map((detail) => detail.name);
  const [info] = error.findDetails(ErrorInfoSchema);
  return { code: codeName(error.code), reason: info?.reason, more: sent.join() };
}
