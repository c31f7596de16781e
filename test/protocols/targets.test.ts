import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GetStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  connectGet,
  framed,
  getStatusCalls,
  getStatusPath,
  healthPath,
  overEvery,
  post,
  type RawCall,
  reflectionPath,
  send,
  withHeaders,
} from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { type Asked, overHttp1, overHttp2, type Told } from "../support/raw-http.ts";
import { insertJob } from "../support/rows.ts";

let database: TestDatabase;
let known: string;
const apps = {} as Record<"on" | "off", TestApp>;

beforeAll(async () => {
  database = await createDatabase();
  known = await insertJob(database.db);
  for (const fastPath of ["on", "off"] as const) {
    apps[fastPath] = await startTestApp({
      DATABASE_URL: database.url,
      LOG_REQUESTS: "true",
      GRPC_FAST_PATH: fastPath,
    });
  }
});

afterAll(async () => {
  for (const app of Object.values(apps)) await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const empty = framed(new Uint8Array());
const json = Buffer.from("{}");
const get = (path: string): Asked => ({ method: "GET", path });

/** Every kind of path, with every way to ask there. */
function everyPath(reqId: string): RawCall[] {
  const message = toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId }));
  const gzipped = gzipSync(message);
  const compressed = Buffer.concat([Buffer.from([1, 0, 0, 0, gzipped.length]), gzipped]);
  const grpcGzip = { "grpc-encoding": "gzip" };
  const watch = { "grpc-timeout": "50m" };
  return [
    ...getStatusCalls(reqId),
    ...overEvery("Connect, binary", "connect", post(getStatusPath, "application/proto", message)),
    ...overEvery("gRPC, gzip", "grpc", post(getStatusPath, "application/grpc", compressed, grpcGzip)),
    ...overEvery("gRPC health", "grpc", post(healthPath("Check"), "application/grpc", empty)),
    ...overEvery("gRPC Watch", "grpc", post(healthPath("Watch"), "application/grpc", empty, watch)),
    ...overEvery("health", "connect", post(healthPath("Check"), "application/json", json)),
    ...overEvery("health, GET", "connect", connectGet(healthPath("Check"), {})),
    ...overEvery(
      "reflection",
      "grpc",
      post(reflectionPath, "application/grpc", framed(Buffer.from("\x3a\x00"))),
    ),
    ...overEvery("reflection", "connect", post(reflectionPath, "application/connect+json", framed(json))),
    ...overEvery("/healthz", "rest", get("/healthz")),
    ...overEvery("/readyz", "rest", get("/readyz")),
    ...overEvery("/metrics", "rest", get("/metrics")),
    ...overEvery("404", "rest", get("/nowhere")),
    ...overEvery("404", "connect", post("/nowhere", "application/json", json)),
  ];
}

const named = (calls: RawCall[]) => calls.map(({ name, protocol }, index) => ({ name, protocol, index }));
const callOf = (index: number) => everyPath(known)[index] as RawCall;
const overOne = (calls: RawCall[], version: RawCall["version"]) =>
  named(calls).filter(({ index }) => calls[index]?.version === version);

/** What may not depend on how the host is named. */
function gist({ status, headers, body }: Told, path: string) {
  const { date: _, "content-length": _length, ...rest } = headers;
  return path === "/metrics" ? { status } : { status, headers: rest, body: body.toString("latin1") };
}

const badRequest = { status: 400, body: `{"Error":"Bad Request","Message":"Bad Request","Status":400}` };
const brief = ({ status, body }: Told) => ({ status, body: body.toString() });

/** Checks that a refused request is counted once, as what it asked for. */
async function expectOneLine(app: TestApp, before: number, protocol: string): Promise<void> {
  const lines = () => app.logs.slice(before).filter(({ msg }) => msg === "call");
  await expect.poll(lines, { interval: 5 }).toMatchObject([{ protocol, code: "INVALID_ARGUMENT" }]);
}

describe("a target in absolute form, as clients with a proxy setting send it, is served on every path", () => {
  describe.for([
    "http://other.test",
    "https://other.test:8443",
    "HTTP://Other.Test",
    "http://[::1]:9000",
  ])("%s", (origin) => {
    test.for(overOne(everyPath(""), "1.1"))("$name, $protocol", async ({ index }) => {
      const { asked } = callOf(index);
      const absolute = { ...asked, path: origin + asked.path };
      const expected = gist(await overHttp1(apps.on.url, asked), asked.path);
      expect(gist(await overHttp1(apps.on.url, absolute), asked.path)).toEqual(expected);
    });
  });

  test.for([
    { target: "http://other.test", path: "/" },
    { target: "http://other.test?x=1", path: "/?x=1" },
    { target: "http://other.test/healthz?x=http://y", path: "/healthz" },
  ])("$target is $path", async ({ target, path }) => {
    const expected = gist(await overHttp1(apps.on.url, get(path)), path);
    expect(gist(await overHttp1(apps.on.url, get(target)), path)).toEqual(expected);
  });

  test.for([
    "http://user:password@other.test/healthz",
    "http://user@other.test/healthz",
    "http://a,b/healthz",
    "http://[/healthz",
    "ftp://other.test/healthz",
  ])("%s is a bad request", async (target) => {
    const before = apps.on.logs.length;
    expect(brief(await overHttp1(apps.on.url, get(target)))).toEqual(badRequest);
    await expectOneLine(apps.on, before, "rest");
  });
});

/** Sends a request with these Host headers, and no others. */
async function overRawHttp1(port: number, asked: Asked, hosts: string[], version = "1.1"): Promise<Told> {
  const { method, path, headers = {}, body = Buffer.alloc(0) } = asked;
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const lines = [`${method} ${path} HTTP/${version}`, ...hosts, ...fields, "Connection: close", "", ""];
  const socket = connectTcp(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(Buffer.concat([Buffer.from(lines.join("\r\n"), "latin1"), body]));
  const answer = (await buffer(socket)).toString("latin1");
  const [head = "", ...rest] = answer.split("\r\n\r\n");
  return {
    status: Number(head.split(" ")[1]),
    headers: {},
    body: Buffer.from(rest.join("\r\n\r\n"), "latin1"),
  };
}

const statusOf = async (told: Promise<Told>) => (await told).status;

describe("over HTTP/1.1, a host that is missing, doubled or malformed is a bad request on every path", () => {
  describe.for([
    { name: "none", hosts: [] },
    { name: "two", hosts: ["Host: a", "Host: b"] },
    { name: "two alike, one in lower case", hosts: ["Host: a", "host: a"] },
    { name: "a list", hosts: ["Host: a, b"] },
    { name: "a list without blanks", hosts: ["Host: a,b"] },
    { name: "blank within", hosts: ["Host: a b"] },
    { name: "half an IPv6 address", hosts: ["Host: ["] },
    { name: "a user", hosts: ["Host: a@b"] },
    { name: "a path", hosts: ["Host: a/b"] },
    { name: "a port that is none", hosts: ["Host: a:b"] },
    { name: "half an encoding", hosts: ["Host: a%2"] },
  ])("$name", ({ hosts }) => {
    test.for(overOne(everyPath(""), "1.1"))("$name, $protocol", async ({ index }) => {
      const call = callOf(index);
      const before = apps.on.logs.length;
      expect(brief(await overRawHttp1(apps.on.port, call.asked, hosts))).toEqual(badRequest);
      await expectOneLine(apps.on, before, call.protocol);
    });
  });
});

describe("every other host is as good as any, on every path", () => {
  const usual = ["Host: localhost:9000"];

  test.for([
    { name: "an empty one", hosts: ["Host:"], version: "1.1" },
    { name: "an IPv6 address", hosts: ["Host: [::1]:9000"], version: "1.1" },
    { name: "no number that URLs know", hosts: ["Host: 1.2.3.4.5"], version: "1.1" },
    { name: "a socket's path", hosts: ["Host: %2Ftmp%2Fsock"], version: "1.1" },
    { name: "HTTP/1.0 without any", hosts: [], version: "1.0" },
    { name: "HTTP/1.0 with one", hosts: usual, version: "1.0" },
  ])("$name", async ({ hosts, version }) => {
    for (const { index } of overOne(everyPath(""), "1.1")) {
      const { name, asked } = callOf(index);
      const { port } = apps.on;
      // Over HTTP/1.0 there are no chunks, and so no trailers either: the status is what is compared.
      const expected = await statusOf(overRawHttp1(port, asked, usual));
      expect([name, await statusOf(overRawHttp1(port, asked, hosts, version))]).toEqual([name, expected]);
    }
  });

  test("HTTP/1.0 with two is a bad request", async () => {
    const { port } = apps.on;
    const told = await overRawHttp1(port, get("/healthz"), ["Host: a", "Host: a"], "1.0");
    expect(brief(told)).toEqual(badRequest);
  });
});

describe.for(["on", "off"] as const)("over HTTP/2, with the fast path %s", (fastPath) => {
  describe.for([
    "%2Ftmp%2Fsock",
    "[::1]:9000",
    "1.2.3.4.5",
  ])("the authority %s, which is in no URL perhaps, is as good as any", (authority) => {
    test.for(overOne(everyPath(""), "2"))("$name, $protocol", async ({ index }) => {
      const call = callOf(index);
      const { path } = call.asked;
      const expected = gist(await send(call, apps[fastPath].url), path);
      const told = await send(withHeaders(call, { ":authority": authority }), apps[fastPath].url);
      expect(gist(told, path)).toEqual(expected);
    });
  });

  // What is in no authority at all ("@", a blank), node:http2 resets.
  describe.for(["[", "a,b", "a:b"])("the authority %s is a bad request", (authority) => {
    test.for(overOne(everyPath(""), "2"))("$name, $protocol", async ({ index }) => {
      const call = withHeaders(callOf(index), { ":authority": authority });
      const before = apps[fastPath].logs.length;
      expect(brief(await overHttp2(apps[fastPath].url, call.asked))).toEqual(badRequest);
      await expectOneLine(apps[fastPath], before, call.protocol);
    });
  });
});
