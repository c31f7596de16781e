import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GetStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  framed,
  getStatusPath,
  healthPath,
  overEvery,
  type ProtocolName,
  post,
  type RawCall,
  reflectionPath,
  send,
} from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import type { Told } from "../support/raw-http.ts";
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

interface Asked {
  readonly path: string;
  readonly protocol: ProtocolName;
  /** As it is mostly written. */
  readonly type: string;
  readonly body: () => Uint8Array;
}

const json = () => Buffer.from(JSON.stringify({ reqId: known }));
const binary = () => toBinary(GetStatusRequestSchema, create(GetStatusRequestSchema, { reqId: known }));
const empty = () => framed(new Uint8Array());
const reflection = () => framed(Buffer.from("\x3a\x00"));
const status = (protocol: ProtocolName, type: string, body: () => Uint8Array): Asked => ({
  path: getStatusPath,
  protocol,
  type,
  body,
});

const asked: Asked[] = [
  status("connect", "application/json", json),
  status("connect", "application/proto", binary),
  status("grpc", "application/grpc", () => framed(binary())),
  status("grpc", "application/grpc+proto", () => framed(binary())),
  status("grpc", "application/grpc+json", () => framed(json())),
  status("grpc-web", "application/grpc-web", () => framed(binary())),
  status("grpc-web", "application/grpc-web+proto", () => framed(binary())),
  status("grpc-web", "application/grpc-web+json", () => framed(json())),
  { path: healthPath("List"), protocol: "grpc", type: "application/grpc", body: empty },
  { path: reflectionPath, protocol: "grpc", type: "application/grpc", body: reflection },
  { path: reflectionPath, protocol: "connect", type: "application/connect+proto", body: reflection },
  {
    path: reflectionPath,
    protocol: "connect",
    type: "application/connect+json",
    body: () => framed(Buffer.from(`{"listServices":""}`)),
  },
  { path: "/no.Such/Method", protocol: "grpc", type: "application/grpc", body: empty },
  { path: "/no.Such/Method", protocol: "grpc-web", type: "application/grpc-web+proto", body: empty },
  { path: "/no.Such/Method", protocol: "connect", type: "application/json", body: json },
];

/** RFC 9110, section 8.3.1: as one may write the same. */
const writings: ((type: string) => string)[] = [
  (type) => type.toUpperCase(),
  (type) => `${type};charset=utf-8`,
  (type) => `${type} ; charset=utf-8`,
  (type) => `${type}\t;\tcharset=UTF-8`,
  (type) => `${type}; charset="UTF-8"`,
  (type) => `${type};Charset=utf8`,
  (type) => `${type}; version=1; charset=utf-8`,
];

/** @returns the ways to send it, over each version of HTTP. */
const calls = ({ path, protocol, body }: Asked, type: string): RawCall[] =>
  overEvery(`${path}, ${type}`, protocol, post(path, type, body()));

/** What may not depend on how a media type is written. */
const gist = ({ status, headers: { date: _, ...headers }, body }: Told) => ({
  status,
  headers,
  body: body.toString("latin1"),
});

describe.for([
  "on",
  "off",
] as const)("a media type may be written in every way that RFC 9110 knows, with the fast path %s", (fastPath) => {
  describe.for(asked.map((one) => ({ ...one, name: `${one.path}, ${one.type}` })))("$name", (one) => {
    test.for(writings.map((write) => ({ type: write(one.type) })))("$type", async ({ type }) => {
      const app = apps[fastPath];
      const plain = calls(one, one.type);
      for (const [index, call] of calls(one, type).entries()) {
        const expected = await send(plain[index] as RawCall, app.url);
        const before = app.logs.length;
        expect(gist(await send(call, app.url))).toEqual(gist(expected));
        const lines = () => app.logs.slice(before).filter(({ msg }) => msg === "call");
        await expect.poll(lines, { interval: 5 }).toMatchObject([{ protocol: one.protocol }]);
      }
    });
  });

  test.for([
    { path: getStatusPath, type: "application/json; charset=latin1", protocol: "connect" },
    { path: getStatusPath, type: `application/json ; charset="utf-16"`, protocol: "connect" },
    { path: getStatusPath, type: "application/grpc+json;charset=us-ascii", protocol: "grpc" },
    { path: getStatusPath, type: "application/grpc-web+json;charset=latin1", protocol: "grpc-web" },
    { path: reflectionPath, type: "application/connect+json;charset=latin1", protocol: "connect" },
    { path: getStatusPath, type: "application/json, application/json", protocol: "connect" },
    { path: getStatusPath, type: "json", protocol: "connect" },
    { path: getStatusPath, type: "application/grpcx", protocol: "connect" },
    { path: getStatusPath, type: "application/grpc-web-text", protocol: "grpc-web" },
  ] as const)("what is no type of an RPC is refused: $type", async ({ path, type, protocol }) => {
    const app = apps[fastPath];
    const before = app.logs.length;
    const [call] = calls({ path, protocol, type, body: json }, type).slice(-1);
    expect((await send(call as RawCall, app.url)).status).toBe(415);
    const lines = () => app.logs.slice(before).filter(({ msg }) => msg === "call");
    await expect.poll(lines, { interval: 5 }).toMatchObject([{ protocol, code: "INVALID_ARGUMENT" }]);
  });

  test("a content coding may be written in any case", async () => {
    const headers = { "Content-Encoding": "GZip" };
    for (const call of overEvery(
      "",
      "connect",
      post(getStatusPath, "application/json", gzipSync(json()), headers),
    ))
      expect((await send(call, apps[fastPath].url)).status).toBe(200);
  });
});
