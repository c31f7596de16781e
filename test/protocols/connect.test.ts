import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2, constants } from "node:http2";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { type CallOutcome, observeCalls } from "../../src/telemetry/calls.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { getStatusOf } from "../support/get-status.ts";
import { lockTable } from "../support/lock.ts";
import { protocols } from "../support/protocols.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { serveEndpoints } from "../support/serve.ts";

let database: TestDatabase;
let app: TestApp;
let reqId: string;

beforeAll(async () => {
  database = await createDatabase();
  app = await startTestApp({ DATABASE_URL: database.url });
  reqId = await insertJob(database.db, { status: "success" });
});

afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const getStatusPath = `/${StatusService.typeName}/GetStatus`;

test("curl's way: Connect JSON by POST, with nothing but a content type", async () => {
  const response = await fetch(app.url + getStatusPath, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ reqId }),
  });
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual(JSON.parse(await documentedJson(database.db, reqId)));
});

test("an error names its domain, and its message what is wrong and what is right", async () => {
  const client = createClient(StatusService, createGrpcTransport({ baseUrl: app.url }));
  const error = await client.getStatus({ reqId: "7" }).catch(ConnectError.from);
  if (!(error instanceof ConnectError)) throw new Error("expected an error");
  expect(error.rawMessage).toBe(`req_id "7" is malformed (want a UUID of 8-4-4-4-12 hexadecimal digits)`);
  expect(error.findDetails(ErrorInfoSchema)).toMatchObject([
    { reason: "INVALID_REQ_ID", domain: "gomemory.status.v1" },
  ]);
});

test("a compressed request", async () => {
  const transport = createGrpcTransport({
    baseUrl: app.url,
    sendCompression: compressionGzip,
    compressMinBytes: 0,
  });
  expect(await createClient(StatusService, transport).getStatus({ reqId })).toMatchObject({ status: 3 });
});

test("an unknown method is UNIMPLEMENTED over gRPC", async () => {
  const Client = grpc.makeGenericClientConstructor(
    {
      nope: {
        path: `/${StatusService.typeName}/Nope`,
        requestStream: false,
        responseStream: false,
        requestSerialize: () => Buffer.alloc(0),
        requestDeserialize: () => ({}),
        responseSerialize: () => Buffer.alloc(0),
        responseDeserialize: () => ({}),
      },
    },
    StatusService.typeName,
  );
  const client = new Client(new URL(app.url).host, grpc.credentials.createInsecure());
  const error = await new Promise<grpc.ServiceError | null>((resolve) => client.nope?.({}, resolve));
  expect(error).toMatchObject({ code: grpc.status.UNIMPLEMENTED, details: "unknown method" });
  client.close();
});

test("an unknown method is unimplemented over Connect", async () => {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(`${app.url}/${StatusService.typeName}/Nope`, {
    method: "POST",
    headers,
    body: "{}",
  });
  expect(response.status).toBe(404);
  expect(await response.json()).toEqual({ code: "unimplemented", message: "unknown method" });
});

describe("a message that is refused for its size is read to its end", () => {
  const tooLarge = Buffer.alloc(5 + 5 * 2 ** 20);
  tooLarge.writeUInt32BE(tooLarge.length - 5, 1);

  test("HTTP/1.1: the next request on the connection is answered", async () => {
    const socket = connect(app.port, "127.0.0.1");
    const head = `POST ${getStatusPath} HTTP/1.1\nHost: x\nContent-Type: application/grpc-web\n`;
    socket.write(`${head}Content-Length: ${tooLarge.length}\n\n`.replaceAll("\n", "\r\n"));
    socket.write(tooLarge);
    socket.write("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect(await text(socket)).toMatch(/grpc-status: 8.*"alive"/s);
  });

  test("HTTP/2: the stream ends well, and does not end its connection later", async () => {
    const session = connectHttp2(app.url);
    const headers = { ":method": "POST", ":path": getStatusPath, "content-type": "application/grpc" };
    const stream = session.request(headers);
    stream.end(tooLarge);
    stream.resume();
    await once(stream, "close");
    expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
    expect(await text(session.request({ ":path": "/healthz" }))).toContain("alive");
    session.destroy();
  });
});

test.for(["Host: a b", "Host: ["])("an RPC over HTTP/1.1 with %j is refused, and no crash", async (host) => {
  const socket = connect(app.port, "127.0.0.1");
  await once(socket, "connect");
  const head = `POST ${getStatusPath} HTTP/1.1\n${host}\nContent-Type: application/json\nConnection: close\n`;
  socket.write(`${head}Content-Length: 2\n\n{}`.replaceAll("\n", "\r\n"));
  expect(await text(socket)).toMatch(/^HTTP\/1\.1 400 /);
  expect((await fetch(`${app.url}/healthz`)).status).toBe(200);
});

test("a caller over HTTP/2 that cancels its call has its statement cancelled", async () => {
  const overHttp2 = protocols.filter(({ name }) => !name.includes("HTTP/1.1"));
  for (const protocol of overHttp2.filter(({ name }) => /^REST|^gRPC|JSON, POST/.test(name))) {
    await using lock = await lockTable(database);
    const client = protocol.open(app.url);
    const gone = new AbortController();
    const asking = client.ask(randomUUID(), { signal: gone.signal }).catch(() => undefined);
    await lock.blocksCalls(1);
    gone.abort();
    await lock.blocksCalls(0);
    await asking;
    client.close();
  }
});

test("an HTTP/2 caller that resets its stream has its statement cancelled", async () => {
  await using lock = await lockTable(database);
  const session = connectHttp2(app.url);
  const stream = session.request({ ":path": `/get_status/${randomUUID()}` });
  await lock.blocksCalls(1);
  stream.close(constants.NGHTTP2_CANCEL);
  await lock.blocksCalls(0);
  session.destroy();
});

test("an unforeseen failure is INTERNAL without its text, and the log gets all of it", async () => {
  const secret = new Error("password=hunter2");
  const ended: CallOutcome[] = [];
  const observe = observeCalls([() => ({ ended: (outcome) => void ended.push(outcome) })]);
  const endpoint = getStatusOf(() => Promise.reject(secret));
  await using served = await serveEndpoints([endpoint], { observe });
  const baseUrl = served.url;
  const transports = [createConnectTransport, createGrpcTransport, createGrpcWebTransport];
  for (const createTransport of transports) {
    const client = createClient(StatusService, createTransport({ baseUrl, httpVersion: "2" }));
    const error = ConnectError.from(await client.getStatus({ reqId }).catch((reason: unknown) => reason));
    expect(error.code).toBe(Code.Internal);
    expect(JSON.stringify([error.message, error.details, [...error.metadata]])).not.toContain("hunter2");
    const [outcome] = ended.splice(0);
    expect(outcome).toMatchObject({ code: "INTERNAL", fault: secret });
    expect(error.metadata.get("x-request-id")).toBe(outcome?.call.requestId);
  }
});

test("Connect GET can be used by anything that can open a URL", async () => {
  const query = new URLSearchParams({ connect: "v1", encoding: "json", message: JSON.stringify({ reqId }) });
  const response = await fetch(`${app.url}${getStatusPath}?${query}`);
  expect(await response.json()).toMatchObject({ status: "success" });
});

test("a JSON request of a gzip-compressed body over Connect", async () => {
  const response = await fetch(app.url + getStatusPath, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Content-Encoding": "gzip" },
    body: gzipSync(JSON.stringify({ reqId })),
  });
  expect(await response.json()).toMatchObject({ status: "success" });
});

test("a Connect client works without knowing that HTTP/2 is there", async () => {
  const transport = createConnectTransport({ baseUrl: app.url, httpVersion: "1.1", useHttpGet: true });
  expect(await createClient(StatusService, transport).getStatus({ reqId })).toMatchObject({ status: 3 });
});
