import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import {
  framed,
  getStatusCalls,
  getStatusPath,
  healthPath,
  overEvery,
  type ProtocolName,
  post,
  type RawCall,
  reflectionPath,
  withHeaders,
} from "./calls.ts";
import { bearing } from "./tokens.ts";

export const getStatusMethod = "gomemory.status.v1.StatusService/GetStatus";
const health = (method: string) => `grpc.health.v1.Health/${method}`;
export const reflectionMethod = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const other = "_OTHER";

const missing = randomUUID();
const empty = framed(new Uint8Array());
const json = Buffer.from("{}");
const get = (path: string) => ({ method: "GET", path });
const large = Buffer.alloc(70_000, 1);

/** A request, with the method and the code that the log and the metrics give it. */
export interface Row {
  readonly call: RawCall;
  readonly method: string;
  readonly code: string;
  /** The request id of the job, where the log has it. */
  readonly reqId?: string;
  /** Whether it is counted as a held call. Absent: unless it is a stream. */
  readonly isHeld?: boolean;
}

/** A request to everything that is served, and every kind of malformed request. */
export function rows(found: string): Row[] {
  const every = (
    name: string,
    protocol: ProtocolName,
    asked: RawCall["asked"],
    method: string,
    code: string,
  ): Row[] => overEvery(name, protocol, asked).map((call) => ({ call, method, code }));
  const statuses = (name: string, reqId: string, code: string): Row[] =>
    getStatusCalls(reqId).map((call) => ({
      call: { ...call, name: `${name}: ${call.name}` },
      method: getStatusMethod,
      code,
      ...(reqId !== "nope" && { reqId: reqId.toLowerCase() }),
    }));
  const compressed = { "Content-Encoding": "gzip" };
  const all: Row[] = [
    ...statuses("found", found.toUpperCase(), "OK"),
    ...statuses("not found", missing, "NOT_FOUND"),
    ...statuses("malformed id", "nope", "INVALID_ARGUMENT"),
    ...every(
      "REST, HEAD",
      "rest",
      { ...get(`/get_status/${found}`), method: "HEAD" },
      getStatusMethod,
      "OK",
    ).map((row) => ({ ...row, reqId: found })),

    ...every("health", "grpc", post(healthPath("Check"), "application/grpc", empty), health("Check"), "OK"),
    ...every(
      "health's list",
      "grpc",
      post(healthPath("List"), "application/grpc", empty),
      health("List"),
      "OK",
    ),
    ...every("health", "connect", post(healthPath("Check"), "application/json", json), health("Check"), "OK"),
    ...every(
      "health",
      "grpc-web",
      post(healthPath("Check"), "application/grpc-web", empty),
      health("Check"),
      "OK",
    ),
    ...every(
      "health of an unknown service",
      "grpc",
      post(healthPath("Check"), "application/grpc", framed(Buffer.from("\x0a\x01x"))),
      health("Check"),
      "NOT_FOUND",
    ),
    ...every(
      "health's Watch until the deadline",
      "grpc",
      post(healthPath("Watch"), "application/grpc", empty, { "grpc-timeout": "50m" }),
      health("Watch"),
      "DEADLINE_EXCEEDED",
    ),
    ...every(
      "health's Watch until the deadline",
      "connect",
      post(healthPath("Watch"), "application/connect+json", framed(json), { "connect-timeout-ms": "50" }),
      health("Watch"),
      "DEADLINE_EXCEEDED",
    ),
    ...every(
      "health's Watch until the deadline",
      "grpc-web",
      post(healthPath("Watch"), "application/grpc-web", empty, { "grpc-timeout": "50m" }),
      health("Watch"),
      "DEADLINE_EXCEEDED",
    ),
    ...every(
      "reflection",
      "grpc",
      post(reflectionPath, "application/grpc", framed(Buffer.from("\x3a\x00"))),
      reflectionMethod,
      "OK",
    ),
    ...every("/healthz", "rest", get("/healthz"), "/healthz", "OK"),
    ...every("/readyz", "rest", get("/readyz"), "/readyz", "OK"),
    ...every("/metrics", "rest", get("/metrics"), "/metrics", "OK"),

    ...every("a path that is unknown", "rest", get("/made-up"), other, "UNIMPLEMENTED"),
    ...every(
      "a method that is unknown",
      "connect",
      post(`${getStatusPath}MadeUp`, "application/json", json),
      other,
      "UNIMPLEMENTED",
    ),
    ...every(
      "a method that is unknown",
      "grpc",
      post(`${getStatusPath}MadeUp`, "application/grpc", empty),
      other,
      "UNIMPLEMENTED",
    ),
    ...every(
      "a method that is unknown",
      "grpc-web",
      post("/made.Up/MadeUp", "application/grpc-web", empty),
      other,
      "UNIMPLEMENTED",
    ),
    ...every(
      "another method of HTTP",
      "rest",
      post(`/get_status/${found}`, "application/json", json),
      getStatusMethod,
      "UNIMPLEMENTED",
    ),
    ...every(
      "another method of HTTP",
      "rest",
      post("/readyz", "application/json", json),
      "/readyz",
      "UNIMPLEMENTED",
    ),
    ...every(
      "another method of HTTP",
      "connect",
      { method: "PUT", path: getStatusPath },
      getStatusMethod,
      "UNIMPLEMENTED",
    ),
    ...every(
      "a media type that is unknown",
      "connect",
      post(getStatusPath, "text/plain", json),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "a media type that is unknown",
      "grpc",
      post(getStatusPath, "application/grpc+thrift", empty),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "an encoding that is unknown",
      "grpc",
      post(getStatusPath, "application/grpc", empty, { "grpc-encoding": "br" }),
      getStatusMethod,
      "UNIMPLEMENTED",
    ),
    ...every(
      "no message",
      "grpc",
      post(getStatusPath, "application/grpc", Buffer.alloc(0)),
      getStatusMethod,
      "UNIMPLEMENTED",
    ),
    ...every(
      "two messages",
      "grpc",
      post(getStatusPath, "application/grpc", Buffer.concat([empty, empty])),
      getStatusMethod,
      "UNIMPLEMENTED",
    ),
    ...every(
      "half a message",
      "grpc",
      post(getStatusPath, "application/grpc", empty.subarray(0, 3)),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "half a message",
      "grpc-web",
      post(getStatusPath, "application/grpc-web", empty.subarray(0, 3)),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "no protobuf",
      "grpc",
      post(getStatusPath, "application/grpc", framed(Buffer.from("\x0a\xff"))),
      getStatusMethod,
      "INTERNAL",
    ),
    ...every(
      "no protobuf",
      "grpc-web",
      post(getStatusPath, "application/grpc-web", framed(Buffer.from("\x0a\xff"))),
      getStatusMethod,
      "INTERNAL",
    ),
    ...every(
      "no protobuf",
      "connect",
      post(getStatusPath, "application/proto", Buffer.from("\x0a\xff")),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "no JSON",
      "connect",
      post(getStatusPath, "application/json", Buffer.from("{")),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "no JSON, GET",
      "connect",
      get(`${getStatusPath}?encoding=json&message=%7B`),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "no base64, GET",
      "connect",
      get(`${getStatusPath}?encoding=proto&base64=1&message=%3F`),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "no gzip",
      "connect",
      post(getStatusPath, "application/json", json, compressed),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "half a gzip",
      "connect",
      post(getStatusPath, "application/json", gzipSync(json).subarray(0, 15), compressed),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "a timeout that is none",
      "connect",
      post(getStatusPath, "application/json", json, { "connect-timeout-ms": "soon" }),
      getStatusMethod,
      "INVALID_ARGUMENT",
    ),
    ...every(
      "too large",
      "connect",
      post(getStatusPath, "application/json", large),
      getStatusMethod,
      "RESOURCE_EXHAUSTED",
    ),
    ...every(
      "too large",
      "grpc",
      post(getStatusPath, "application/grpc", framed(large)),
      getStatusMethod,
      "RESOURCE_EXHAUSTED",
    ),
    ...every(
      "too large",
      "grpc-web",
      post(getStatusPath, "application/grpc-web", framed(large)),
      getStatusMethod,
      "RESOURCE_EXHAUSTED",
    ),
    ...every(
      "too large when decompressed",
      "connect",
      post(getStatusPath, "application/json", gzipSync(large), compressed),
      getStatusMethod,
      "RESOURCE_EXHAUSTED",
    ),
    {
      call: {
        name: "reflection, HTTP/1.1",
        protocol: "connect",
        version: "1.1",
        asked: post(reflectionPath, "application/connect+json", framed(json)),
      },
      method: reflectionMethod,
      code: "UNIMPLEMENTED",
    },
  ];
  return all.map((row) => ({ ...row, call: withHeaders(row.call, bearing) }));
}

/** Requests of callers without a token, which are refused. */
export function refusedRows(found: string): Row[] {
  return [
    ...getStatusCalls(found).map((call) => ({ call, method: getStatusMethod })),
    ...overEvery("reflection", "grpc", post(reflectionPath, "application/grpc", empty)).map((call) => ({
      call,
      method: reflectionMethod,
    })),
    ...overEvery("/metrics", "rest", get("/metrics")).map((call) => ({ call, method: "/metrics" })),
    ...overEvery("a path that is unknown", "rest", get("/made-up")).map((call) => ({ call, method: other })),
    ...overEvery(
      "another method of HTTP",
      "rest",
      post(`/get_status/${found}`, "application/json", json),
    ).map((call) => ({ call, method: getStatusMethod })),
    ...overEvery("a method that is unknown", "grpc", post("/made.Up/MadeUp", "application/grpc", empty)).map(
      (call) => ({ call, method: other }),
    ),
  ].map((row) => ({
    ...row,
    call: { ...row.call, name: `refused: ${row.call.name}` },
    code: "UNAUTHENTICATED",
  }));
}
