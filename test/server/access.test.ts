import { randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { createGrpcTransport } from "@connectrpc/connect-node";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ServerReflection,
  type ServerReflectionRequest,
} from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { createProbes } from "../../src/server/probes.ts";
import { createReadiness } from "../../src/status/readiness.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { protocols } from "../support/protocols.ts";
import { type Asked, overHttp1, overHttp2, type Told } from "../support/raw-http.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { tokenLine } from "../support/tokens.ts";

const token = "of-alice_0123456789.~+/abc==";
const bearing = { Authorization: `Bearer ${token}` };
const unauthorized = `{"Error":"Unauthorized","Message":"Unauthorized","Status":401}`;

/** What anybody may ask. */
const open = [
  "/healthz",
  "/readyz",
  "/grpc.health.v1.Health/Check",
  "/grpc.health.v1.Health/List",
  "/grpc.health.v1.Health/Watch",
];

let directory: string;
let database: TestDatabase;
let reqId: string;
let json: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "gomemory-status-access-"));
  database = await createDatabase();
  reqId = await insertJob(database.db);
  json = await documentedJson(database.db, reqId);
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

interface Guarded extends TestApp {
  /** Who may ask it. */
  readonly tokensFile: string;
}

async function startGuarded(env: Readonly<Record<string, string>> = {}): Promise<Guarded> {
  const tokensFile = join(directory, randomUUID());
  await writeFile(tokensFile, `# who may ask\n\n${tokenLine("bob", "of-bob")}${tokenLine("alice", token)}`);
  const app = await startTestApp({ DATABASE_URL: database.url, AUTH_TOKENS_FILE: tokensFile, ...env });
  return { ...app, tokensFile };
}

interface Rpc {
  readonly path: string;
  readonly streams: boolean;
}

/** Every RPC of a running service, as its reflection tells, which asks the router. */
async function rpcsOf(url: string): Promise<Rpc[]> {
  const client = createClient(ServerReflection, createGrpcTransport({ baseUrl: url }));
  async function ask(messageRequest: ServerReflectionRequest["messageRequest"]) {
    const requests = createAsyncIterable([{ messageRequest }]);
    for await (const response of client.serverReflectionInfo(requests, { headers: bearing })) {
      return response.messageResponse.value;
    }
    return undefined;
  }
  const listed = await ask({ case: "listServices", value: "" });
  if (typeof listed !== "object" || !("service" in listed)) throw new Error("reflection lists no services");
  const rpcs: Rpc[] = [];
  for (const { name: serviceName } of listed.service) {
    const files = await ask({ case: "fileContainingSymbol", value: serviceName });
    if (typeof files !== "object" || !("fileDescriptorProto" in files))
      throw new Error("reflection has no file");
    for (const bytes of files.fileDescriptorProto) {
      const file = fromBinary(FileDescriptorProtoSchema, bytes);
      const service = file.service.find(({ name }) => `${file.package}.${name}` === serviceName);
      for (const { name, clientStreaming, serverStreaming } of service?.method ?? []) {
        rpcs.push({ path: `/${serviceName}/${name}`, streams: clientStreaming || serverStreaming });
      }
    }
  }
  return rpcs;
}

/** Every way to call an RPC, with an empty message. */
function callsOf({ path, streams }: Rpc): Record<string, Asked> {
  const post = (type: string, body: Buffer): Asked => ({
    method: "POST",
    path,
    headers: { "Content-Type": type, TE: "trailers" },
    body,
  });
  const framed = Buffer.alloc(5);
  const query = "?connect=v1&encoding=json&message=%7B%7D";
  return {
    gRPC: post("application/grpc", framed),
    "gRPC, in JSON": post("application/grpc+json", Buffer.from("\0\0\0\0\x02{}")),
    "gRPC-Web": post("application/grpc-web+proto", framed),
    "gRPC-Web, as text": post("application/grpc-web-text", framed),
    Connect: streams
      ? post("application/connect+json", Buffer.from("\0\0\0\0\x02{}"))
      : post("application/json", Buffer.from("{}")),
    "Connect, by GET": { method: "GET", path: path + query },
    "something else": post("text/plain", Buffer.from("{}")),
  };
}

/** What an answer says that is no answer. */
function refusalOf({ status, headers, body }: Told): string {
  const text = body.toString("latin1");
  if (status === 401) {
    expect(headers["www-authenticate"]).toBe("Bearer");
    return "refused";
  }
  const grpcStatus = headers["grpc-status"] ?? /grpc-status: *(\d+)/i.exec(text)?.[1];
  if (grpcStatus === "16" || /"code": ?"unauthenticated"/.test(text)) return "refused";
  // A method, a content type, a version of HTTP with which the call does not exist.
  return [405, 415, 505].includes(status) ? "impossible" : `let through: ${status} ${text}`;
}

const https = { "HTTP/1.1": overHttp1, "HTTP/2": overHttp2 };
const credentials: Record<string, Record<string, string>> = {
  none: {},
  "a token that is not known": { Authorization: "Bearer of-mallory" },
  "the digest of a known one": { Authorization: `Bearer ${tokenLine("", token).slice(1).trim()}` },
  "a known one, under another scheme": { Authorization: `Basic ${token}` },
  "a known one without a scheme": { Authorization: token },
  "a known one and more": { Authorization: `Bearer ${token} ${token}` },
  "a known one elsewhere": { "X-Authorization": `Bearer ${token}`, Cookie: `token=${token}` },
};

describe.for(["on", "off"])("with the fast path %s", (fastPath) => {
  let app: Guarded;

  beforeAll(async () => {
    app = await startGuarded({ GRPC_FAST_PATH: fastPath });
  });

  afterAll(() => app[Symbol.asyncDispose]());

  test("every RPC needs a token, but for health checks", async () => {
    const rpcs = await rpcsOf(app.url);
    expect(rpcs.map(({ path }) => path)).toEqual(
      expect.arrayContaining(["/gomemory.status.v1.StatusService/GetStatus", ...open.slice(2)]),
    );
    for (const rpc of rpcs) {
      for (const [way, call] of Object.entries(callsOf(rpc))) {
        for (const [version, ask] of Object.entries(https)) {
          // Health's Watch answers for as long as it is asked.
          if (rpc.path.endsWith("/Watch")) continue;
          for (const [credential, headers] of Object.entries(credentials)) {
            const refusal = refusalOf(
              await ask(app.url, { ...call, headers: { ...call.headers, ...headers } }),
            );
            const isOpen = open.includes(rpc.path);
            const told = `${rpc.path}, ${way}, ${version}, ${credential}: ${refusal}`;
            if (isOpen) expect(told).not.toMatch(/: refused$/);
            else expect(told).toMatch(/: refused$/);
          }
        }
      }
    }
  });

  test.for(Object.entries(https))("every route needs a token, but for the probes, over %s", async ([
    ,
    ask,
  ]) => {
    const probes = [
      ...createProbes(
        createReadiness(() => Promise.resolve("ready")),
        { contentType: "", text: async () => "" },
      ).keys(),
    ];
    expect(probes).toEqual(["/healthz", "/readyz", "/metrics"]);
    const routes = ["/get_status", "/get_status/", `/get_status/${reqId}`, "/", "/nowhere", "/openapi.json"];
    for (const path of [...probes, ...routes]) {
      for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]) {
        const told = await ask(app.url, { method, path });
        if (open.includes(path)) expect(told.status, `${method} ${path}`).toBeOneOf([200, 405]);
        else {
          expect(told.status, `${method} ${path}`).toBe(401);
          expect(told.headers).toMatchObject({
            "www-authenticate": "Bearer",
            "error-reason": "UNAUTHENTICATED",
            "content-type": "application/json",
          });
          if (method !== "HEAD") expect(told.body.toString()).toBe(unauthorized);
        }
      }
    }
  });

  test("a path that only resembles a probe's needs a token", async () => {
    const target = `/get_status/${reqId}`;
    const paths = [
      `/healthz/..${target}`,
      `/healthz${target}`,
      `/healthz/%2e%2e${target}`,
      `/healthz;${target}`,
      `/healthz#/..${target}`,
      `//healthz/..${target}`,
      `/healthz%3f/..${target}`,
      `/HEALTHZ`,
      `/healthz/`,
      `/%68ealthz`,
      `/grpc.health.v1.Health/Check/../../gomemory.status.v1.StatusService/GetStatus`,
      `/grpc.health.v1.Health/../gomemory.status.v1.StatusService/GetStatus`,
      `/grpc.health.v1.Health/Check\\..\\..\\gomemory.status.v1.StatusService/GetStatus`,
      `http://healthz${target}`,
      `http://user:/healthz@host${target}`,
    ];
    for (const path of paths) {
      // HTTP/2 has no paths but those that begin with a slash.
      for (const ask of path.startsWith("/") ? [overHttp1, overHttp2] : [overHttp1]) {
        for (const call of [{ method: "GET", path }, ...Object.values(callsOf({ path, streams: false }))]) {
          expect(refusalOf(await ask(app.url, call)), path).toBe("refused");
        }
      }
    }
  });

  test("every other path needs a token", async () => {
    const segment = fc.constantFrom(
      "healthz",
      "readyz",
      "get_status",
      "..",
      ".",
      "",
      "%2e",
      "x",
      "grpc.health.v1.Health",
      "Check",
      ";",
      "?",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(segment, { maxLength: 5 }), async (segments) => {
        const path = `/${segments.join("/")}`;
        fc.pre(!open.includes(path.split("?")[0] ?? ""));
        expect((await overHttp1(app.url, { method: "GET", path })).status).toBe(401);
      }),
      { numRuns: 200 },
    );
  });

  test.for(
    protocols,
  )("$name: with a known token all is as usual, without one the call is refused", async (protocol) => {
    const known = protocol.open(app.url, token);
    expect(await known.ask(reqId)).toEqual({ json });
    known.close();
    for (const other of [undefined, "of-mallory"]) {
      const unknown = protocol.open(app.url, other);
      expect(await unknown.ask(reqId)).toEqual({
        code: protocol.isRest ? 401 : "UNAUTHENTICATED",
        reason: "UNAUTHENTICATED",
        more: protocol.isRest ? unauthorized : "ErrorInfo",
      });
      unknown.close();
    }
  });
});

test("a name may have two tokens, so that one can replace the other", async () => {
  await using app = await startGuarded();
  await writeFile(app.tokensFile, ["old", "new", "new"].map((each) => tokenLine("alice", each)).join(""));
  await expect
    .poll(() => app.logs.find(({ msg }) => msg === "the tokens have changed"), { timeout: 10_000 })
    .toMatchObject({ tokens: 2 });
  for (const each of ["old", "new"]) {
    const headers = { Authorization: `Bearer ${each}` };
    const told = await overHttp1(app.url, { method: "GET", path: `/get_status/${reqId}`, headers });
    expect(told.status).toBe(200);
  }
});

test("the scheme is case-insensitive", async () => {
  await using app = await startGuarded();
  for (const scheme of ["bearer", "BEARER", "Bearer "]) {
    const headers = { Authorization: `${scheme} ${token}` };
    const told = await overHttp1(app.url, { method: "GET", path: `/get_status/${reqId}`, headers });
    expect(told.body.toString()).toBe(json);
  }
});

describe("when the file of the tokens changes", () => {
  const ask = async (app: TestApp, bearer: string) => {
    const headers = { Authorization: `Bearer ${bearer}` };
    return (await overHttp1(app.url, { method: "GET", path: `/get_status/${reqId}`, headers })).status;
  };
  const logged = (app: TestApp, msg: string) =>
    expect.poll(() => app.logs.find((line) => line.msg === msg), { interval: 10, timeout: 10_000 });

  test("new callers are authenticated, and removed ones are not", async () => {
    await using app = await startGuarded();
    expect(await ask(app, "of-carol")).toBe(401);
    await writeFile(app.tokensFile, tokenLine("carol", "of-carol"));
    await logged(app, "the tokens have changed").toMatchObject({ level: "info", tokens: 1 });
    expect(await ask(app, "of-carol")).toBe(200);
    expect(await ask(app, token)).toBe(401);
  });

  test.for([
    { name: "is gone", content: undefined, says: "cannot be read (ENOENT)" },
    { name: "is empty", content: "", says: "holds no token" },
    {
      name: "holds something else",
      content: "# so far so good\nhunter2\n",
      says: "has something else in line 2",
    },
    {
      name: "gives a token two names",
      content: tokenLine("carol", "hunter2") + tokenLine("dave", "hunter2").toUpperCase(),
      says: "has the token of an earlier line under another name in line 2",
    },
    {
      name: "ends in the middle",
      content: tokenLine("carol", "hunter2").slice(0, -8),
      says: "has something else in line 1",
    },
  ])("a file that $name changes nothing, and is complained about", async ({ content, says }) => {
    await using app = await startGuarded();
    if (content === undefined) await rm(app.tokensFile);
    else await writeFile(app.tokensFile, content);
    const complaint = "the tokens file has changed and cannot be used: the old tokens stay in use";
    await logged(app, complaint).toMatchObject({
      level: "error",
      err: { message: expect.stringContaining(says) },
    });
    expect(JSON.stringify(app.logs)).not.toContain("hunter2");
    expect(await ask(app, token)).toBe(200);
  });
});

test("the start reports how callers are authenticated", async () => {
  await using guarded = await startGuarded();
  expect(guarded.access).toEqual({ tls: "off", callers: "2 tokens" });
  await using open = await startTestApp({ DATABASE_URL: database.url });
  expect(open.access).toEqual({ tls: "off", callers: "everybody" });
});
