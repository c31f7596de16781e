import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionAlpha } from "../../src/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { Health } from "../../src/gen/health/v1/health_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { overEvery, send } from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";

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

const services = [StatusService, Health, ServerReflection, ServerReflectionAlpha];
const ofGrpc =
  "application/grpc, application/grpc+proto, application/grpc+json, " +
  "application/grpc-web, application/grpc-web+proto, application/grpc-web+json";

/** What Connect's specification has GET for: unary methods without side effects. */
function mayGet({ methodKind, idempotency }: DescMethod): boolean {
  return methodKind === "unary" && idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
}

const rpcs = services.flatMap(({ typeName, methods }) =>
  methods.map((method: DescMethod) => ({
    path: `/${typeName}/${method.name}`,
    allow: mayGet(method) ? "POST, GET" : "POST",
    acceptPost:
      method.methodKind === "unary"
        ? `application/json, application/proto, ${ofGrpc}`
        : `application/connect+json, application/connect+proto, ${ofGrpc}`,
  })),
);

test("GET is allowed for some RPCs, and not for others", () => {
  expect(new Set(rpcs.map(({ allow }) => allow)).size).toBe(2);
});

describe.for(["on", "off"] as const)("with the fast path %s", (fastPath) => {
  describe.for(rpcs)("$path", ({ path, allow, acceptPost }) => {
    const others = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];

    test.for(
      others.filter((method) => !allow.includes(method)),
    )("%s: 405 that names what is allowed", async (method) => {
      for (const type of [
        undefined,
        "application/json",
        "application/grpc",
        "application/grpc-web+proto",
        "text/x",
      ]) {
        const headers = type === undefined ? {} : { "Content-Type": type };
        for (const call of overEvery("", "connect", { method, path, headers })) {
          const told = await send(call, apps[fastPath].url);
          const { allow: allowed, "content-type": typeOfBody } = told.headers;
          expect([told.status, allowed, typeOfBody, told.body.length]).toEqual([405, allow, undefined, 0]);
        }
      }
    });

    test.for([
      undefined,
      "",
      "text/plain",
      "application/xml",
      "application/x-www-form-urlencoded",
      "application/grpc+thrift",
      "application/grpc-web-text",
      "application/json; charset=latin1",
      acceptPost.startsWith("application/json") ? "application/connect+proto" : "application/proto",
    ])("POST of %s: 415 that names what is taken", async (type) => {
      const headers = type === undefined ? {} : { "Content-Type": type };
      for (const call of overEvery("", "connect", {
        method: "POST",
        path,
        headers,
        body: Buffer.from("{}"),
      })) {
        const told = await send(call, apps[fastPath].url);
        const { "accept-post": taken, "content-type": typeOfBody } = told.headers;
        expect([told.status, taken, typeOfBody, told.body.length]).toEqual([415, acceptPost, undefined, 0]);
      }
    });
  });

  const withGet = rpcs.filter(({ allow }) => allow !== "POST");

  test.for([
    "",
    "?message=%7B%7D",
    "?encoding=xml&message=%7B%7D",
  ])("GET without an encoding that is known: 415, %j", async (query) => {
    for (const { path, acceptPost } of withGet) {
      for (const call of overEvery("", "connect", { method: "GET", path: path + query })) {
        const told = await send(call, apps[fastPath].url);
        expect([told.status, told.headers["accept-post"]]).toEqual([415, acceptPost]);
      }
    }
  });

  test("CONNECT, over HTTP/2, is a request without a target", async () => {
    const session = connectHttp2(apps[fastPath].url);
    const stream = session.request({ ":method": "CONNECT", ":authority": "other.test:443" });
    const [headers] = await once(stream, "response");
    session.destroy();
    expect(headers[":status"]).toBe(400);
  });
});
