import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { GetStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import type { Listener } from "../../src/server/listener.ts";
import { overloaded } from "../../src/status/errors.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { connectGet, framed, getStatusPath, healthPath, post, reflectionPath } from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { getStatusOf } from "../support/get-status.ts";
import { flag, frame, frameType, headerBlock, preface, setting, settings } from "../support/http2-frames.ts";
import { openPeer } from "../support/peer.ts";
import type { Asked } from "../support/raw-http.ts";
import { insertJob } from "../support/rows.ts";
import { serveEndpoints } from "../support/serve.ts";
import { tokenLine } from "../support/tokens.ts";

let folder: Folder;
let database: TestDatabase;
let ids: Record<"short" | "long", string>;
const ports = {} as Record<"open" | "guarded" | "broken" | "full", number>;
const running: AsyncDisposable[] = [];

beforeAll(async () => {
  folder = await createFolder();
  database = await createDatabase();
  ids = {
    short: await insertJob(database.db, { status: "success" }),
    // Longer than a stream's buffer, and than a frame.
    long: await insertJob(database.db, { status: "failure", error: "🧠".repeat(16_384) }),
  };
  const use = (app: TestApp) => {
    running.push(app);
    return app.port;
  };
  ports.open = use(await startTestApp({ DATABASE_URL: database.url }));
  const tokens = await folder.write("tokens", tokenLine("alice", "of-alice"));
  ports.guarded = use(await startTestApp({ DATABASE_URL: database.url, AUTH_TOKENS_FILE: tokens }));
  const doomed = await createDatabase();
  ports.broken = use(await startTestApp({ DATABASE_URL: doomed.url }));
  await doomed[Symbol.asyncDispose]();
  const full = await startFull();
  running.push(full);
  ports.full = full.address.port;
});

afterAll(async () => {
  for (const one of running) await one[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** A service that sheds every call. */
function startFull(): Promise<Listener> {
  const endpoint = getStatusOf(() => Promise.reject(overloaded("MAX_IN_FLIGHT")));
  return serveEndpoints([endpoint], { shutdownTimeout: 0 });
}

interface Case {
  readonly name: string;
  readonly asked: () => Asked;
  readonly of?: keyof typeof ports;
}

const get = (path: string): Asked => ({ method: "GET", path });
const json = (reqId: string) => Buffer.from(JSON.stringify({ reqId }));
const binary = (reqId: string) => toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId }));
const status = (type: string, body: Uint8Array, headers = {}) => post(getStatusPath, type, body, headers);
const gzip = { "Content-Encoding": "gzip", "Accept-Encoding": "gzip" };

const cases: Case[] = [
  { name: "REST, 200", asked: () => get(`/get_status/${ids.short}`) },
  { name: "REST, 200, long", asked: () => get(`/get_status/${ids.long}`) },
  { name: "REST, HEAD", asked: () => ({ method: "HEAD", path: `/get_status/${ids.short}` }) },
  { name: "REST, 400", asked: () => get("/get_status/nope") },
  { name: "REST, 401", asked: () => get(`/get_status/${ids.short}`), of: "guarded" },
  { name: "REST, 405", asked: () => ({ method: "PUT", path: `/get_status/${ids.short}` }) },
  { name: "REST, 500, unknown", asked: () => get(`/get_status/${randomUUID()}`) },
  { name: "REST, 500, no database", asked: () => get(`/get_status/${ids.short}`), of: "broken" },
  { name: "REST, 503", asked: () => get(`/get_status/${ids.short}`), of: "full" },
  { name: "404", asked: () => get("/nowhere") },
  { name: "405, RPC", asked: () => ({ method: "PUT", path: getStatusPath }) },
  { name: "405, RPC, HEAD", asked: () => ({ method: "HEAD", path: getStatusPath }) },
  { name: "415, RPC", asked: () => status("text/plain", json("")) },
  { name: "415, RPC, GET", asked: () => get(getStatusPath) },
  { name: "404, HEAD", asked: () => ({ method: "HEAD", path: "/nowhere" }) },
  { name: "404, POST", asked: () => post("/nowhere", "application/json", json("")) },
  { name: "404, gRPC", asked: () => post("/no.Such/Method", "application/grpc", framed(binary(""))) },
  { name: "/healthz", asked: () => get("/healthz") },
  { name: "/readyz", asked: () => get("/readyz") },
  { name: "/readyz, 503", asked: () => get("/readyz"), of: "broken" },
  { name: "/metrics", asked: () => get("/metrics") },
  { name: "/metrics, HEAD", asked: () => ({ method: "HEAD", path: "/metrics" }) },
  { name: "/metrics, 401", asked: () => get("/metrics"), of: "guarded" },
  { name: "Connect, GET", asked: () => connectGet(getStatusPath, { reqId: ids.short }) },
  { name: "Connect, GET, malformed id", asked: () => connectGet(getStatusPath, { reqId: "nope" }) },
  { name: "Connect, JSON", asked: () => status("application/json", json(ids.short)) },
  { name: "Connect, JSON, long", asked: () => status("application/json", json(ids.long)) },
  { name: "Connect, JSON, gzip", asked: () => status("application/json", gzipSync(json(ids.long)), gzip) },
  { name: "Connect, JSON, malformed id", asked: () => status("application/json", json("nope")) },
  { name: "Connect, JSON, 401", asked: () => status("application/json", json(ids.short)), of: "guarded" },
  {
    name: "Connect, JSON, no database",
    asked: () => status("application/json", json(ids.short)),
    of: "broken",
  },
  { name: "Connect, JSON, shed", asked: () => status("application/json", json(ids.short)), of: "full" },
  { name: "Connect, no JSON", asked: () => status("application/json", Buffer.from("{")) },
  { name: "Connect, binary", asked: () => status("application/proto", binary(ids.short)) },
  { name: "Connect, binary, unknown id", asked: () => status("application/proto", binary(randomUUID())) },
  { name: "Connect, health", asked: () => post(healthPath("Check"), "application/json", Buffer.from("{}")) },
  { name: "gRPC", asked: () => status("application/grpc", framed(binary(ids.short))) },
  { name: "gRPC, malformed id", asked: () => status("application/grpc", framed(binary("nope"))) },
  { name: "gRPC, in JSON", asked: () => status("application/grpc+json", framed(json(ids.short))) },
  {
    name: "gRPC, reflection",
    asked: () => post(reflectionPath, "application/grpc", framed(Buffer.from("\x3a\x00"))),
  },
];

/** A request as frames: its header block, and the content if there is one. */
function request({ method, path, headers = {}, body }: Asked): Buffer {
  const lower = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
  const fields = { ":method": method, ":scheme": "http", ":path": path, ":authority": "test" };
  const block = headerBlock({ ...fields, ...Object.fromEntries(lower) });
  if (body === undefined) return frame(frameType.headers, flag.endHeaders | flag.endStream, 1, block);
  return Buffer.concat([
    frame(frameType.headers, flag.endHeaders, 1, block),
    frame(frameType.data, flag.endStream, 1, body),
  ]);
}

test.for(cases)("the last frame of an answer over HTTP/2 ends its stream, no empty one: $name", async ({
  asked,
  of = "open",
}) => {
  using peer = await openPeer(ports[of]);
  // Whatever is long fits into the windows, so that nothing has to wait for us.
  const windows = settings(setting.initialWindowSize, 2 ** 20);
  const more = frame(frameType.windowUpdate, 0, 0, Buffer.from([0, 16, 0, 0]));
  peer.send(Buffer.concat([preface, windows, more, request(asked())]));
  const last = await peer.frame(({ stream, flags, type }) => {
    const mayEnd = type === frameType.data || type === frameType.headers;
    return stream === 1 && mayEnd && (flags & flag.endStream) !== 0;
  });
  expect(last.type === frameType.headers ? "headers" : last.payload.length).not.toBe(0);
});
