import { create, toBinary } from "@bufbuild/protobuf";
import { GetStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { type Asked, overHttp1, overHttp2, type Told } from "./raw-http.ts";

export type ProtocolName = "rest" | "connect" | "grpc" | "grpc-web";

/** The exact request of one protocol over one version of HTTP. */
export interface RawCall {
  readonly name: string;
  readonly protocol: ProtocolName;
  readonly version: "1.1" | "2";
  readonly asked: Asked;
}

export const getStatusPath = "/gomemory.status.v1.StatusService/GetStatus";
export const healthPath = (method: string) => `/grpc.health.v1.Health/${method}`;
export const reflectionPath = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

export function send({ version, asked }: RawCall, url: string): Promise<Told> {
  return version === "1.1" ? overHttp1(url, asked) : overHttp2(url, asked);
}

/** @returns the trailers, or the last message of Connect's streams, with their base64 decoded. */
export async function endOf(call: RawCall, url: string): Promise<string> {
  const { headers, body } = await send(call, url);
  const end = `${JSON.stringify(headers)}${body.toString("latin1")}`;
  const decoded = end
    .match(/[A-Za-z0-9+/]{24,}/g)
    ?.map((text) => Buffer.from(text, "base64").toString("latin1"));
  return `${end}${decoded?.join("") ?? ""}`;
}

/** @returns the call with more headers. */
export function withHeaders(call: RawCall, headers: Readonly<Record<string, string>>): RawCall {
  return { ...call, asked: { ...call.asked, headers: { ...call.asked.headers, ...headers } } };
}

/** A message with its length prefix, as gRPC, gRPC-Web and Connect's streams frame it. */
export function framed(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

export function post(path: string, type: string, body: Uint8Array, headers = {}): Asked {
  const length = String(body.length);
  return {
    method: "POST",
    path,
    headers: { "Content-Type": type, "Content-Length": length, TE: "trailers", ...headers },
    body: Buffer.from(body),
  };
}

export function connectGet(path: string, message: object): Asked {
  const query = new URLSearchParams({ connect: "v1", encoding: "json", message: JSON.stringify(message) });
  return { method: "GET", path: `${path}?${query}` };
}

/** A request over every version of HTTP that its protocol supports. */
export function overEvery(name: string, protocol: ProtocolName, asked: Asked): RawCall[] {
  const versions = protocol === "grpc" ? (["2"] as const) : (["1.1", "2"] as const);
  return versions.map((version) => ({ name: `${name}, HTTP/${version}`, protocol, version, asked }));
}

/** GetStatus over every protocol and version of HTTP. */
export function getStatusCalls(reqId: string): RawCall[] {
  const message = toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId }));
  const json = Buffer.from(JSON.stringify({ reqId }));
  return [
    ...overEvery("REST", "rest", { method: "GET", path: `/get_status/${encodeURIComponent(reqId)}` }),
    ...overEvery("Connect, GET", "connect", connectGet(getStatusPath, { reqId })),
    ...overEvery("Connect, POST", "connect", post(getStatusPath, "application/json", json)),
    ...overEvery("gRPC-Web", "grpc-web", post(getStatusPath, "application/grpc-web+proto", framed(message))),
    ...overEvery("gRPC", "grpc", post(getStatusPath, "application/grpc", framed(message))),
    ...overEvery("gRPC, in JSON", "grpc", post(getStatusPath, "application/grpc+json", framed(json))),
  ];
}
