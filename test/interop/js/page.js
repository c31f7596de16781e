/**
 * Calls the service in a browser. The page's server streams the calls, and receives the answers. A call names its client
 * (`by`) and the service's URL (`url`).
 */
import { createRegistry, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { GrpcWebClientBase, MethodDescriptor, MethodType } from "grpc-web";
import {
  GetStatusRequestSchema,
  GetStatusResponseSchema,
  StatusService,
} from "./gen/gomemory/status/v1/status_pb.ts";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.ts";

const details = createRegistry(BadRequestSchema, ErrorInfoSchema, RetryInfoSchema);
const method = new MethodDescriptor(
  "/gomemory.status.v1.StatusService/GetStatus",
  MethodType.UNARY,
  Object,
  Object,
  (request) => toBinary(GetStatusRequestSchema, { $typeName: GetStatusRequestSchema.typeName, ...request }),
  (bytes) => fromBinary(GetStatusResponseSchema, bytes),
);

/** The clients by name. Each keeps its connections. */
const clients = {
  fetch: callRest,
  connect: callConnect((baseUrl) => createConnectTransport({ baseUrl, useBinaryFormat: true })),
  "connect-json-get": callConnect((baseUrl) => createConnectTransport({ baseUrl, useHttpGet: true })),
  "connect-grpc-web": callConnect((baseUrl) => createGrpcWebTransport({ baseUrl })),
  "grpc-web": callGrpcWeb,
};

const running = new Map();
new EventSource("/calls").onmessage = ({ data }) => {
  for (const call of JSON.parse(data)) {
    if (call.cancel) running.get(JSON.stringify(call.id))?.abort();
    else void start(call);
  }
};

async function start(call) {
  const cancelling = new AbortController();
  running.set(JSON.stringify(call.id), cancelling);
  const answer = await clients[call.by](call, cancelling.signal).catch((error) => ({
    failed: String(error),
  }));
  report({ id: call.id, ...answer });
}

/** Browsers open few connections to a server: answers that arrive during a report are sent together in the next one. */
let unreported = [];
let reporting = false;

async function report(answer) {
  unreported.push(answer);
  if (reporting) return;
  reporting = true;
  while (unreported.length > 0) {
    const body = JSON.stringify(unreported);
    unreported = [];
    await fetch("/answers", { method: "POST", body });
  }
  reporting = false;
}

async function callRest({ url, reqId }, signal) {
  const response = await fetch(`${url}/get_status/${reqId}`, { signal });
  const reason = response.headers.get("error-reason") ?? undefined;
  return { rest: { status: response.status, reason, body: await response.text() } };
}

function callConnect(createTransport) {
  const known = new Map();
  return async ({ url, reqId, timeoutMs, requestId }, signal) => {
    const headers = requestId === undefined ? {} : { "x-request-id": requestId };
    try {
      const client = known.get(url) ?? createClient(StatusService, createTransport(url));
      known.set(url, client);
      const response = await client.getStatus({ reqId }, { signal, timeoutMs, headers });
      return { response: toJson(GetStatusResponseSchema, response) };
    } catch (cause) {
      const error = ConnectError.from(cause);
      if (error.code === Code.Canceled) return { status: { code: error.code } };
      const errorDetails = error.details.map(({ type, value }) => detail(type, value));
      return {
        status: { code: error.code, message: error.rawMessage, details: errorDetails },
        requestId: error.metadata.get("x-request-id") ?? undefined,
      };
    }
  };
}

/** This client exposes the trailers of a failure, but not its headers. */
function callGrpcWeb({ url, reqId, timeoutMs }, signal) {
  const metadata = timeoutMs === undefined ? {} : { deadline: String(Date.now() + timeoutMs) };
  const base = new GrpcWebClientBase({ format: "binary" });
  const { promise, resolve } = Promise.withResolvers();
  const call = base.rpcCall(`${url}${method.name}`, { reqId }, metadata, method, (error, response) => {
    if (error === null) return resolve({ response: toJson(GetStatusResponseSchema, response) });
    const { code, message, metadata } = error;
    const status = { code, message, details: statusDetails(metadata["grpc-status-details-bin"]) };
    resolve({ status });
  });
  signal.addEventListener("abort", () => {
    call.cancel();
    resolve({ status: { code: Code.Canceled } });
  });
  return promise;
}

/** The details of a google.rpc.Status, its field 3, each a google.protobuf.Any. */
function statusDetails(base64 = "") {
  const found = [];
  const reader = new BinaryReader(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field !== 3) {
      reader.skip(wireType);
      continue;
    }
    const any = new BinaryReader(reader.bytes());
    let type = "";
    while (any.pos < any.len) {
      const [part] = any.tag();
      if (part === 1) type = any.string().replace("type.googleapis.com/", "");
      else found.push(detail(type, any.bytes()));
    }
  }
  return found;
}

function detail(type, value) {
  const schema = details.getMessage(type);
  return { "@type": `type.googleapis.com/${type}`, ...toJson(schema, fromBinary(schema, value)) };
}
