import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { text } from "node:stream/consumers";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  framed,
  getStatusCalls,
  overEvery,
  post,
  type RawCall,
  send,
  withHeaders,
} from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { insertJob } from "../support/rows.ts";

const limit = 16_384;
let database: TestDatabase;
let known: string;
const apps = {} as Record<"on" | "off", TestApp>;

beforeAll(async () => {
  database = await createDatabase();
  known = await insertJob(database.db);
  for (const fastPath of ["on", "off"] as const)
    apps[fastPath] = await startTestApp({
      DATABASE_URL: database.url,
      LOG_REQUESTS: "true",
      GRPC_FAST_PATH: fastPath,
    });
});

afterAll(async () => {
  for (const app of Object.values(apps)) await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const few = (bytes: number) => ({ "x-large": "x".repeat(bytes) });
const many = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`x-${index}`, "1"]));

/** A call over every protocol, and to every other kind of path. */
const everyCall = (reqId: string): RawCall[] => [
  ...getStatusCalls(reqId),
  ...overEvery("/healthz", "rest", { method: "GET", path: "/healthz" }),
  ...overEvery("404", "rest", { method: "GET", path: "/nowhere" }),
  ...overEvery("404", "grpc", post("/no.Such/Method", "application/grpc", framed(new Uint8Array()))),
];
const named = everyCall("").map(({ name, protocol, version }, index) => ({ name, protocol, version, index }));
const overHttp2 = named.filter(({ version }) => version === "2");
const title = "Request Header Fields Too Large";

describe.for(["on", "off"] as const)("with the fast path %s", (fastPath) => {
  describe.for([
    { name: "just over the limit", headers: few(limit) },
    { name: "twice the limit", headers: few(2 * limit) },
    { name: "one field too many", headers: many(1_025) },
  ])("$name, over HTTP/2, is answered, and not reset", ({ headers }) => {
    test.for(overHttp2)("$name, $protocol", async ({ index, protocol }) => {
      const call = withHeaders(everyCall(known)[index] as RawCall, headers);
      const before = apps[fastPath].logs.length;
      const answer = await send(call, apps[fastPath].url);
      if (protocol.startsWith("grpc")) {
        expect([answer.status, answer.headers["grpc-status"]]).toEqual([200, String(Code.ResourceExhausted)]);
      } else {
        const body = JSON.parse(answer.body.toString());
        const expected =
          protocol === "rest"
            ? { Error: title, Message: title, Status: 431 }
            : { code: "resource_exhausted" };
        expect([answer.status, body]).toEqual([431, expect.objectContaining(expected)]);
      }
      const lines = () => apps[fastPath].logs.slice(before).filter(({ msg }) => msg === "call");
      await expect.poll(lines, { interval: 5 }).toMatchObject([{ protocol, code: "RESOURCE_EXHAUSTED" }]);
    });
  });

  test("an HTTP/2 connection stays open after the response", async () => {
    const session = connectHttp2(apps[fastPath].url);
    await once(session, "remoteSettings");
    // The announced size is what can be answered: twice the limit, and 32 bytes for each of 1,024 fields.
    expect(session.remoteSettings.maxHeaderListSize).toBe(2 * limit + 32 * 1_024);
    for (const bytes of [limit, 15_000]) {
      const stream = session.request({ ":path": "/healthz", ...few(bytes) });
      const [headers] = await once(stream, "response");
      expect(headers[":status"]).toBe(bytes === limit ? 431 : 200);
      stream.resume();
    }
    session.close();
  });

  test("clients report resource_exhausted", async () => {
    const message = { reqId: known };
    for (const createTransport of [createConnectTransport, createGrpcTransport, createGrpcWebTransport]) {
      const transport = createTransport({ baseUrl: apps[fastPath].url, httpVersion: "2" });
      const client = createClient(StatusService, transport);
      const error = await client.getStatus(message, { headers: few(limit) }).catch(ConnectError.from);
      expect(error).toMatchObject({ code: Code.ResourceExhausted });
    }
  });

  describe("1,000 small headers are accepted", () => {
    test.for(named)("$name, $protocol", async ({ index }) => {
      const call = everyCall(known)[index] as RawCall;
      const gist = ({ status, headers, body }: Awaited<ReturnType<typeof send>>) => {
        const { date: _, ...rest } = headers;
        return { status, rest, body: body.toString("latin1") };
      };
      const expected = gist(await send(call, apps[fastPath].url));
      expect(gist(await send(withHeaders(call, many(1_000)), apps[fastPath].url))).toEqual(expected);
    });
  });
});

describe("over HTTP/1.1", () => {
  async function statusOf(fields: Readonly<Record<string, string>>): Promise<string> {
    const socket = connectTcp(apps.on.port, "127.0.0.1");
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines.join("")}\r\n`);
    return (await text(socket)).split(" ")[1] as string;
  }

  test("the limit is the same: 431", async () => {
    expect(await statusOf(few(limit))).toBe("431");
    expect(await statusOf(few(limit - 100))).toBe("200");
    expect(await statusOf(many(1_025))).toBe("431");
    expect(await statusOf(many(1_000))).toBe("200");
  });
});
