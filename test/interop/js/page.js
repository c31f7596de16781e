/**
 * Asks the service in a browser. The server that the page comes from streams the calls to begin, and takes the answers:
 * a call says by which client (`by`) and whom (`url`) to ask.
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

/** By what a call can ask. Each keeps its connections. */
const clients = {
  fetch: askRest,
  connect: askConnect((baseUrl) => createConnectTransport({ baseUrl, useBinaryFormat: true })),
  "connect-json-get": askConnect((baseUrl) => createConnectTransport({ baseUrl, useHttpGet: true })),
  "connect-grpc-web": askConnect((baseUrl) => createGrpcWebTransport({ baseUrl })),
  "grpc-web": askGrpcWeb,
};

const running = new Map();
new EventSource("/calls").onmessage = ({ data }) => {
  for (const call of JSON.parse(data)) {
    if (call.cancel) running.get(JSON.stringify(call.id))?.abort();
    else void begin(call);
  }
};

async function begin(call) {
  const gone = new AbortController();
  running.set(JSON.stringify(call.id), gone);
  const answer = await clients[call.by](call, gone.signal).catch((error) => ({ failed: String(error) }));
  tell({ id: call.id, ...answer });
}

/** Browsers keep few connections to a server: the answers that come meanwhile go together. */
let untold = [];
let telling = false;

async function tell(answer) {
  untold.push(answer);
  if (telling) return;
  telling = true;
  while (untold.length > 0) {
    const body = JSON.stringify(untold);
    untold = [];
    await fetch("/answers", { method: "POST", body });
  }
  telling = false;
}

async function askRest({ url, reqId }, signal) {
  const response = await fetch(`${url}/get_status/${reqId}`, { signal });
  const reason = response.headers.get("error-reason") ?? undefined;
  return { rest: { status: response.status, reason, body: await response.text() } };
}

function askConnect(createTransport) {
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
      const told = error.details.map(({ type, value }) => detail(type, value));
      return {
        status: { code: error.code, message: error.rawMessage, details: told },
        requestId: error.metadata.get("x-request-id") ?? undefined,
      };
    }
  };
}

/** Of a failure, this client shows the trailers, and none of the headers. */
function askGrpcWeb({ url, reqId, timeoutMs }, signal) {
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
  const told = [];
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
      else told.push(detail(type, any.bytes()));
    }
  }
  return told;
}

function detail(type, value) {
  const schema = details.getMessage(type);
  return { "@type": `type.googleapis.com/${type}`, ...toJson(schema, fromBinary(schema, value)) };
}
