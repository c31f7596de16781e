import { gzipSync } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Endpoint } from "../../src/endpoints/endpoint.ts";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { Health } from "../../src/gen/health/v1/health_pb.ts";
import type { Listener } from "../../src/server/listener.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  framed,
  getStatusPath,
  healthPath,
  overEvery,
  type ProtocolName,
  post,
  reflectionPath,
  send,
} from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import type { Asked, Told } from "../support/raw-http.ts";
import { serveEndpoints } from "../support/serve.ts";

let database: TestDatabase;
const apps = {} as Record<"on" | "off", TestApp>;

beforeAll(async () => {
  database = await createDatabase();
  for (const fastPath of ["on", "off"] as const)
    apps[fastPath] = await startTestApp({ DATABASE_URL: database.url, GRPC_FAST_PATH: fastPath });
});

afterAll(async () => {
  for (const app of Object.values(apps)) await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

/** A field of a length that does not come. */
const garbage = Buffer.from("\x0a\xff", "latin1");
const gzip = { "Content-Encoding": "gzip" };
const streamGzip = { "Connect-Content-Encoding": "gzip" };
const half = (bytes: Buffer) => bytes.subarray(0, bytes.length - 10);

function compressed(message: Buffer): Buffer {
  const frame = framed(message);
  frame[0] = 1;
  return frame;
}

/** The code of the error, wherever a protocol has it. */
function codeOf({ headers, body }: Told): string | undefined {
  const text = body.toString("latin1");
  return headers["grpc-status"] ?? /grpc-status: *(\d+)/.exec(text)?.[1] ?? /"code":"(\w+)"/.exec(text)?.[1];
}

const base64 = (message: Buffer, query = "") => ({
  method: "GET",
  path: `${getStatusPath}?connect=v1&encoding=proto&base64=1&message=${message.toString("base64url")}${query}`,
});
const listServices = framed(Buffer.from("\x3a\x00"));

const ofConnect: { name: string; status: number; asked: Asked }[] = [
  { name: "POST", status: 400, asked: post(getStatusPath, "application/proto", garbage) },
  { name: "POST, in JSON", status: 400, asked: post(getStatusPath, "application/json", Buffer.from("{")) },
  {
    name: "POST, gzip",
    status: 400,
    asked: post(getStatusPath, "application/proto", gzipSync(garbage), gzip),
  },
  {
    name: "POST, half a gzip",
    status: 400,
    asked: post(getStatusPath, "application/json", half(gzipSync("{}")), gzip),
  },
  { name: "GET", status: 400, asked: base64(garbage) },
  { name: "GET, gzip", status: 400, asked: base64(gzipSync(garbage), "&compression=gzip") },
  { name: "GET, half a gzip", status: 400, asked: base64(half(gzipSync("")), "&compression=gzip") },
  {
    name: "a stream of answers",
    status: 200,
    asked: post(healthPath("Watch"), "application/connect+proto", framed(garbage)),
  },
  {
    name: "a stream of answers, gzip",
    status: 200,
    asked: post(healthPath("Watch"), "application/connect+proto", compressed(gzipSync(garbage)), streamGzip),
  },
  {
    name: "a stream of answers, half a gzip",
    status: 200,
    asked: post(healthPath("Watch"), "application/connect+proto", compressed(half(gzipSync(""))), streamGzip),
  },
];
const ofGrpc: { name: string; protocol: ProtocolName; asked: Asked }[] = [
  { name: "gRPC", protocol: "grpc", asked: post(getStatusPath, "application/grpc", framed(garbage)) },
  {
    name: "gRPC-Web",
    protocol: "grpc-web",
    asked: post(getStatusPath, "application/grpc-web", framed(garbage)),
  },
  {
    name: "gRPC, a stream of answers",
    protocol: "grpc",
    asked: post(healthPath("Watch"), "application/grpc", framed(garbage)),
  },
];

describe.for(["on", "off"] as const)("with the fast path %s", (fastPath) => {
  test.for(ofConnect)("a message that cannot be decoded is the caller's mistake over Connect: $name", async ({
    name,
    status,
    asked,
  }) => {
    for (const call of overEvery(name, "connect", asked)) {
      const told = await send(call, apps[fastPath].url);
      expect([told.status, codeOf(told)]).toEqual([status, "invalid_argument"]);
    }
  });

  test("so is one in the middle of a stream", async () => {
    const body = Buffer.concat([listServices, framed(garbage)]);
    const asked = post(reflectionPath, "application/connect+proto", body);
    const [, call] = overEvery("", "connect", asked);
    if (call === undefined) throw new Error("no call");
    expect(codeOf(await send(call, apps[fastPath].url))).toBe("invalid_argument");
  });

  test("a compressed message of a call that names no compression is `internal`, as Connect's conformance suite has it", async () => {
    const asked = post(healthPath("Watch"), "application/connect+proto", compressed(gzipSync("")));
    for (const call of overEvery("", "connect", asked))
      expect(codeOf(await send(call, apps[fastPath].url))).toBe("internal");
  });

  test.for(ofGrpc)("$name gets INTERNAL, as its specification does", async ({ name, protocol, asked }) => {
    for (const call of overEvery(name, protocol, asked))
      expect(codeOf(await send(call, apps[fastPath].url))).toBe(String(Code.Internal));
  });
});

describe("a fault of a handler is no mistake of the caller, whatever it looks like", () => {
  let listener: Listener;

  const fault = () => new ConnectError("parse binary: premature EOF", Code.Internal);
  const endpoints = [
    {
      method: Health.method.check,
      handle() {
        throw fault();
      },
    },
    {
      method: Health.method.watch,
      // biome-ignore lint/correctness/useYield: it fails before it has an answer.
      async *handle() {
        throw await fault();
      },
    },
    {
      method: ServerReflection.method.serverReflectionInfo,
      // biome-ignore lint/correctness/useYield: it fails before it has an answer.
      async *handle(requests: AsyncIterable<unknown>) {
        for await (const _ of requests) throw fault();
      },
    },
  ] as unknown as Endpoint[];

  beforeAll(async () => {
    listener = await serveEndpoints(endpoints);
  });

  afterAll(() => listener[Symbol.asyncDispose]());

  test.for([
    { name: "unary", status: 500, asked: post(healthPath("Check"), "application/proto", Buffer.alloc(0)) },
    {
      name: "a stream of answers",
      status: 200,
      asked: post(healthPath("Watch"), "application/connect+proto", framed(Buffer.alloc(0))),
    },
    {
      name: "streams both ways",
      status: 200,
      asked: post(reflectionPath, "application/connect+proto", listServices),
    },
  ])("$name", async ({ name, status, asked }) => {
    const call = { name, protocol: "connect", version: "2", asked } as const;
    const told = await send(call, `http://127.0.0.1:${listener.address.port}`);
    expect([told.status, codeOf(told)]).toEqual([status, "internal"]);
  });
});
