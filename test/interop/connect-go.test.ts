import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { type ClientProgram, startClientProgram } from "./client.ts";
import { expected, jobs } from "./expected-answers.ts";
import { buildGo } from "./tools.ts";
import { testWaiting } from "./waiting-clients.ts";

const connectGo = await buildGo("connect-go", "connectrpc.com/connect");

const variants: readonly { name: string; args: readonly string[] }[] = [
  { name: "Connect, HTTP/1.1, binary, POST", args: [] },
  { name: "Connect, HTTP/1.1, binary, GET", args: ["-get"] },
  { name: "Connect, HTTP/1.1, JSON, POST", args: ["-json"] },
  { name: "Connect, HTTP/1.1, JSON, GET", args: ["-json", "-get"] },
  { name: "Connect, HTTP/2, binary, POST", args: ["-http2"] },
  { name: "Connect, HTTP/2, binary, GET", args: ["-http2", "-get"] },
  { name: "gRPC-Web, HTTP/1.1, binary", args: ["-protocol=grpcweb"] },
  { name: "gRPC-Web, HTTP/1.1, JSON", args: ["-protocol=grpcweb", "-json"] },
  { name: "gRPC-Web, HTTP/2, binary", args: ["-protocol=grpcweb", "-http2"] },
  { name: "gRPC, HTTP/2, binary", args: ["-protocol=grpc", "-http2"] },
  { name: "gRPC, HTTP/2, JSON", args: ["-protocol=grpc", "-http2", "-json"] },
];

describe.skipIf(connectGo.skipped)(connectGo.title, () => {
  let database: TestDatabase;
  let app: TestApp;
  let withoutDatabase: TestApp;

  beforeAll(async () => {
    database = await createDatabase();
    app = await startTestApp({ DATABASE_URL: database.url });
    withoutDatabase = await startTestApp({ DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" });
  });

  afterAll(async () => {
    await withoutDatabase[Symbol.asyncDispose]();
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  function start(target: string, args: readonly string[]): ClientProgram {
    return startClientProgram(connectGo.path, [`-target=${target}`, ...args]);
  }

  describe.for(variants)("$name", ({ args }) => {
    let client: ClientProgram;

    beforeAll(() => {
      client = start(`127.0.0.1:${app.port}`, args);
    });

    afterAll(() => client[Symbol.asyncDispose]());

    test("all four statuses", async () => {
      const method = args.includes("-get") ? "GET" : "POST";
      for (const job of jobs) {
        const reqId = await insertJob(database.db, job);
        const response = JSON.parse(await documentedJson(database.db, reqId));
        expect(await client.call(reqId)).toEqual({ response, method });
      }
    });

    test("a malformed and an unknown id: errors with their details", async () => {
      expect(await client.call("a b")).toEqual(expected.malformed);
      expect(await client.call(crypto.randomUUID())).toEqual(expected.notFound);
    });

    test("no database: an error with RetryInfo, and with the x-request-id that was sent", async () => {
      await using ownClient = start(`127.0.0.1:${withoutDatabase.port}`, args);
      const requestId = "order/7:first";
      expect(await ownClient.call(crypto.randomUUID(), { requestId })).toEqual({
        ...expected.unavailable,
        requestId,
      });
    });

    test("gzip", async () => {
      await using ownClient = start(`127.0.0.1:${app.port}`, [...args, "-gzip"]);
      const reqId = await insertJob(database.db, { status: "failure", error: "timeout, ".repeat(500) });
      const response = JSON.parse(await documentedJson(database.db, reqId));
      expect(await ownClient.call(reqId)).toMatchObject({ response });
    });

    test("a deadline that passes, and a call that is cancelled: the statement ends", async () => {
      {
        await using lock = await lockTable(database);
        const late = client.call(crypto.randomUUID(), { timeoutMs: 300 });
        await lock.blocks(1);
        expect(await late).toMatchObject(expected.deadlineExceeded);
        await lock.blocksCalls(0);
      }
      // A successful call closes the breaker again.
      expect(await client.call(crypto.randomUUID())).toEqual(expected.notFound);
      await using lock = await lockTable(database);
      const gone = new AbortController();
      // Over HTTP/1.1, a closed connection may be a half-closed one whose client still waits: the deadline ends the statement.
      const deadline = args.includes("-http2") ? {} : { timeoutMs: 300 };
      const calling = client.call(crypto.randomUUID(), { signal: gone.signal, ...deadline });
      await lock.blocks(1);
      gone.abort();
      expect(await calling).toMatchObject(expected.cancelled);
      await lock.blocksCalls(0);
    });

    testWaiting({ start: (url) => start(new URL(url).host, args) });
  });
});
