import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { request as requestHttp1 } from "node:http";
import { type ClientHttp2Stream, connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import { errorFromJson } from "@connectrpc/connect/protocol-connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { trailerParse } from "@connectrpc/connect/protocol-grpc-web";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  framed,
  getStatusCalls,
  getStatusPath,
  overEvery,
  post,
  type RawCall,
  reflectionPath,
  send,
  withHeaders,
} from "../support/calls.ts";
import { useKnownJob } from "../support/known-job.ts";
import { metricValue } from "../support/metric.ts";
import type { Told } from "../support/raw-http.ts";
import { documentedJson } from "../support/rows.ts";
import { tokenLine } from "../support/tokens.ts";

const job = useKnownJob();

/** How an answer says that the caller is not known. */
type Form = "REST" | "Connect, unary" | "Connect, a stream" | "gRPC" | "gRPC-Web";

interface Refused {
  readonly call: RawCall;
  readonly form: Form;
}

const empty = framed(new Uint8Array());
const zipped = framed(gzipSync("{}"));
zipped[0] = 1;

function formOf({ protocol }: RawCall): Form {
  if (protocol === "connect") return "Connect, unary";
  return protocol === "rest" ? "REST" : protocol === "grpc" ? "gRPC" : "gRPC-Web";
}

const refused: Refused[] = [
  ...getStatusCalls(randomUUID()).map((call) => ({ call, form: formOf(call) })),
  ...overEvery(
    "reflection, Connect",
    "connect",
    post(reflectionPath, "application/connect+json", framed(Buffer.from("{}"))),
  ).map((call) => ({ call, form: "Connect, a stream" as const })),
  ...[
    ...overEvery("reflection", "grpc", post(reflectionPath, "application/grpc", empty)),
    ...overEvery("reflection", "grpc-web", post(reflectionPath, "application/grpc-web", empty)),
    ...overEvery("no such method", "grpc", post("/a.B/C", "application/grpc", empty)),
    ...overEvery("no such method", "grpc-web", post("/a.B/C", "application/grpc-web", empty)),
    ...overEvery("no such path", "rest", { method: "GET", path: "/nowhere" }),
    ...overEvery(
      "gzip",
      "grpc",
      post(getStatusPath, "application/grpc+json", zipped, { "grpc-encoding": "gzip" }),
    ),
    ...overEvery(
      "gzip",
      "connect",
      post(getStatusPath, "application/json", gzipSync("{}"), { "Content-Encoding": "gzip" }),
    ),
  ].map((call) => ({ call, form: formOf(call) })),
];

/** Sends the headers alone. What they say of the body's length holds nothing up. @returns how to end it, and the answer. */
function sendHeaders({ version, asked }: RawCall, url: string, more: Readonly<Record<string, string>> = {}) {
  const headers = { ...asked.headers, ...more };
  if (version === "2") {
    const session = connectHttp2(url);
    const stream = session.request({ ":method": asked.method, ":path": asked.path, ...headers });
    stream.on("error", () => {});
    return {
      told: receive(stream),
      write: (body: Buffer) => stream.write(body),
      close: () => session.destroy(),
    };
  }
  const { hostname, port } = new URL(url);
  const { method, path } = asked;
  const request = requestHttp1({ hostname, port, method, path, headers, agent: false });
  request.on("error", () => {});
  request.flushHeaders();
  const told = once(request, "response").then(async ([response]) => ({
    status: response.statusCode,
    headers: response.headers,
    body: await buffer(response),
  }));
  request.once("continue", () => expect.unreachable("told to go on"));
  return { told, write: (body: Buffer) => request.write(body), close: () => request.destroy() };
}

async function receive(stream: ClientHttp2Stream): Promise<Told> {
  let blocks = 0;
  stream.on("headers", ({ ":status": status }) => expect(status, "told to go on").toBeUndefined());
  stream.on("trailers", () => blocks++);
  const [headers] = await once(stream, "response");
  const body = await buffer(stream);
  expect(blocks, "trailers").toBe(0);
  return { status: headers[":status"], headers, body };
}

function errorOf(form: Form, { headers, body }: Told): ConnectError | undefined {
  const unknown = new ConnectError("unknown");
  if (form === "gRPC") {
    const pairs = Object.entries(headers).filter(([name]) => name.startsWith("grpc-"));
    return findTrailerError(new Headers(pairs));
  }
  if (form === "gRPC-Web") {
    expect(body[0]).toBe(0x80);
    return findTrailerError(trailerParse(body.subarray(5)));
  }
  if (form === "Connect, unary") return errorFromJson(JSON.parse(body.toString()), undefined, unknown);
  expect(body[0]).toBe(2);
  expect(body.readUInt32BE(1)).toBe(body.length - 5);
  return errorFromJson(JSON.parse(body.subarray(5).toString()).error, undefined, unknown);
}

function expectRefusal({ form, call }: Refused, told: Told): void {
  const isUnary = form === "REST" || form === "Connect, unary";
  expect(told.status).toBe(isUnary ? 401 : 200);
  if (isUnary) expect(told.headers["www-authenticate"]).toBe("Bearer");
  const type = call.asked.headers?.["Content-Type"] ?? "";
  if (isUnary) expect(told.headers["content-type"]).toBe("application/json");
  else expect(told.headers["content-type"]).toBe(/\+/.test(type) ? type : `${type}+proto`);
  if (form === "REST") {
    expect(told.headers["error-reason"]).toBe("UNAUTHENTICATED");
    expect(told.body.toString()).toBe(`{"Error":"Unauthorized","Message":"Unauthorized","Status":401}`);
    return;
  }
  const error = errorOf(form, told);
  expect(error?.code).toBe(Code.Unauthenticated);
  expect(error?.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: "UNAUTHENTICATED" }]);
}

describe.for(["on", "off"])("with the fast path %s, 401 comes from the headers alone", (fastPath) => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startTestApp({ ...job.env, GRPC_FAST_PATH: fastPath });
  });

  afterAll(() => app[Symbol.asyncDispose]());

  test.for(refused)("$call.name: while the body does not arrive", async (one) => {
    const sent = sendHeaders(one.call, app.url);
    expectRefusal(one, await sent.told);
    sent.close();
  });

  test.for(
    refused.filter(({ call }) => call.asked.body !== undefined),
  )("$call.name: where the caller waits to be told to go on, it is not", async (one) => {
    const sent = sendHeaders(one.call, app.url, { Expect: "100-continue" });
    expectRefusal(one, await sent.told);
    sent.close();
  });

  test.for(
    refused.filter(({ call }) => call.asked.body !== undefined),
  )("$call.name: with 4 MiB on the way, the caller reads it all the same", async (one) => {
    const length = String(4 * 2 ** 20);
    const sent = sendHeaders(one.call, app.url, { "Content-Length": length });
    sent.write(Buffer.alloc(4 * 2 ** 20));
    expectRefusal(one, await sent.told);
    sent.close();
  });
});

test("a body that never arrives keeps its connection open for PEER_TIMEOUT at most", async () => {
  await using app = await startTestApp({
    ...job.env,
    PEER_TIMEOUT: "200ms",
  });
  const [over1, over2] = overEvery(
    "Connect",
    "connect",
    post(getStatusPath, "application/json", Buffer.from("{}")),
  );
  if (over1 === undefined || over2 === undefined) throw new Error("no call");
  const socket = connectTcp(app.port, "127.0.0.1").resume();
  socket.write(
    `POST ${getStatusPath} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n`,
  );
  await once(socket, "close");
  const session = connectHttp2(app.url);
  const stream = session.request({ ":method": "POST", ":path": getStatusPath, ...over2.asked.headers });
  stream.on("error", () => {}).resume();
  await once(stream, "close");
  session.destroy();
});

test("the body of a refused request is not read as a request, and the next request is answered", async () => {
  await using app = await startTestApp(job.env);
  const smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
  const socket = connectTcp(app.port, "127.0.0.1");
  const lines = (...more: string[]) => ["Host: x", ...more, "", ""].join("\r\n");
  socket.write(
    `POST ${getStatusPath} HTTP/1.1\r\n${lines("Content-Type: application/json", `Content-Length: ${smuggled.length}`)}`,
  );
  const chunks = socket[Symbol.asyncIterator]();
  expect(String((await chunks.next()).value)).toMatch(/^HTTP\/1\.1 401 /);
  socket.write(smuggled);
  socket.write(
    `GET /get_status/${job.reqId} HTTP/1.1\r\n${lines("Authorization: Bearer of-alice", "Connection: close")}`,
  );
  const rest: Buffer[] = [];
  for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) rest.push(next.value);
  const answers = Buffer.concat(rest).toString();
  expect(answers.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200"]);
  expect(answers).toContain(await documentedJson(job.database.db, job.reqId));
});

test.for([
  "1.1",
  "2",
] as const)("a known caller that waits for it is told to go on, over HTTP/%s", async (version) => {
  await using app = await startTestApp(job.env);
  const body = Buffer.from(JSON.stringify({ reqId: job.reqId }));
  const headers = {
    "Content-Type": "application/json",
    "Content-Length": String(body.length),
    Authorization: "Bearer of-alice",
    Expect: "100-continue",
  };
  if (version === "2") {
    const session = connectHttp2(app.url);
    const stream = session.request({ ":method": "POST", ":path": getStatusPath, ...headers });
    await once(stream, "continue");
    stream.end(body);
    expect(String(await buffer(stream))).toBe(await documentedJson(job.database.db, job.reqId));
    session.destroy();
    return;
  }
  const request = requestHttp1(app.url + getStatusPath, { method: "POST", headers, agent: false });
  request.flushHeaders();
  await once(request, "continue");
  request.end(body);
  const [response] = await once(request, "response");
  expect(String(await buffer(response))).toBe(await documentedJson(job.database.db, job.reqId));
});

describe("callers by the names of their tokens", () => {
  const calls = async ({ url }: TestApp, caller: string) => {
    const headers = { Authorization: "Bearer of-alice" };
    const metrics = await (await fetch(`${url}/metrics`, { headers })).text();
    return metricValue(metrics, "rpc_server_caller_calls_total", { caller });
  };

  test("remain when they are removed from the list, and new ones are added at once", async () => {
    const file = await job.folder.write(
      "changing",
      tokenLine("alice", "of-alice") + tokenLine("bob", "of-bob"),
    );
    await using app = await startTestApp({ DATABASE_URL: job.env.DATABASE_URL, AUTH_TOKENS_FILE: file });
    const [call] = getStatusCalls(job.reqId);
    if (call === undefined) throw new Error("no call");
    await send(withHeaders(call, { Authorization: "Bearer of-bob" }), app.url);
    await writeFile(file, tokenLine("alice", "of-alice") + tokenLine("carol", "of-carol"));
    await expect.poll(() => calls(app, "carol"), { timeout: 10_000 }).toBe(0);
    expect(await calls(app, "bob")).toBe(1);
  });

  test("are counted, on the fast path and off it", async () => {
    const file = await job.folder.write("both", tokenLine("alice", "of-alice") + tokenLine("bob", "of-bob"));
    await using app = await startTestApp({ DATABASE_URL: job.env.DATABASE_URL, AUTH_TOKENS_FILE: file });
    expect(await calls(app, "bob")).toBe(0);
    const every = getStatusCalls(job.reqId);
    for (const call of every) {
      for (const token of ["of-bob", "of-mallory"]) {
        await send(withHeaders(call, { Authorization: `Bearer ${token}` }), app.url);
      }
    }
    await expect.poll(() => calls(app, "bob")).toBe(every.length);
    await expect.poll(() => calls(app, "")).toBe(every.length);
  });
});
