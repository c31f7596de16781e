/**
 * Calls the service in a browser. The page's server streams the calls, and receives the answers and the events of streams. A
 * call names its client (`by`) and the service's URL (`url`).
 */
import { create, createRegistry, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { GrpcWebClientBase, MethodDescriptor, MethodType } from "grpc-web";
import { StatusService } from "./gen/gomemory/status/v1/status_pb.ts";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.ts";

const details = createRegistry(BadRequestSchema, ErrorInfoSchema, RetryInfoSchema);
/** The clients by name. Each keeps its connections. */
const clients = {
  fetch: callRest,
  events: openEventSource,
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
  const take = (event) => report({ id: call.id, event });
  const answer = await clients[call.by](call, cancelling.signal, take).catch((error) => ({
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

/** Its events are those of the stream, and what becomes of it: `open`, `reconnecting`, `closed`. */
function openEventSource({ url, reqIds: [reqId] }, signal, take) {
  const source = new EventSource(`${url}/get_status/${reqId}`);
  const { promise, resolve } = Promise.withResolvers();
  source.onopen = () => take({ type: "open" });
  source.onerror = () => {
    const isClosed = source.readyState === EventSource.CLOSED;
    take({ type: isClosed ? "closed" : "reconnecting" });
    if (isClosed) resolve({});
  };
  for (const type of ["status", "gone", "unavailable", "end"]) {
    source.addEventListener(type, ({ data, lastEventId }) => take({ type, data, lastEventId }));
  }
  signal.addEventListener("abort", () => {
    source.close();
    resolve({});
  });
  return promise;
}

/** The method of a call, and its request. */
function requestOf({ method = "GetStatus", reqId, reqIds, waitMs }) {
  const { input, output, localName } = StatusService.methods.find(({ name }) => name === method);
  const wait = waitMs === undefined ? {} : { wait: durationFromMs(waitMs) };
  const request = create(input, reqIds === undefined ? { reqId, ...wait } : { reqIds });
  return { method, input, output, localName, request };
}

function callConnect(createTransport) {
  const known = new Map();
  return async ({ url, timeoutMs, requestId, ...call }, signal, take) => {
    const headers = requestId === undefined ? {} : { "x-request-id": requestId };
    const options = { signal, timeoutMs, headers };
    const { method, localName, output, request } = requestOf(call);
    try {
      const client = known.get(url) ?? createClient(StatusService, createTransport(url));
      known.set(url, client);
      const answer = client[localName](request, options);
      if (method !== "WatchStatus") return { response: toJson(output, await answer) };
      for await (const event of answer) take(toJson(output, event));
      return { status: {} };
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
function callGrpcWeb({ url, timeoutMs, ...call }, signal, take) {
  const metadata = timeoutMs === undefined ? {} : { deadline: String(Date.now() + timeoutMs) };
  const base = new GrpcWebClientBase({ format: "binary" });
  const { method, input, output, request } = requestOf(call);
  const isStream = method === "WatchStatus";
  const path = `/${StatusService.typeName}/${method}`;
  const descriptor = new MethodDescriptor(
    path,
    isStream ? MethodType.SERVER_STREAMING : MethodType.UNARY,
    Object,
    Object,
    (message) => toBinary(input, message),
    (bytes) => fromBinary(output, bytes),
  );
  const { promise, resolve } = Promise.withResolvers();
  const fail = ({ code, message, metadata }) => {
    const status = { code, message, details: statusDetails(metadata["grpc-status-details-bin"]) };
    resolve({ status });
  };
  const start = isStream ? "serverStreaming" : "rpcCall";
  const calling = base[start](url + path, request, metadata, descriptor, (error, response) => {
    if (error === null) resolve({ response: toJson(output, response) });
    else fail(error);
  });
  if (isStream) {
    calling.on("data", (event) => take(toJson(output, event)));
    calling.on("error", fail);
    calling.on("end", () => resolve({ status: {} }));
  }
  signal.addEventListener("abort", () => {
    calling.cancel();
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
