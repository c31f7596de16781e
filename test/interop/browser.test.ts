import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lockTable } from "../support/lock.ts";
import { documentedJson, insertJob, insertPending } from "../support/rows.ts";
import { type Browser, installBrowser, startBrowser } from "./browser.ts";
import { useServices } from "./services.ts";
import { jobs, told } from "./told-answers.ts";

const chromium = await installBrowser();

const ways = [
  { name: "connect-web: Connect, binary", by: "connect" },
  { name: "connect-web: Connect, JSON, GET", by: "connect-json-get" },
  { name: "connect-web: gRPC-Web", by: "connect-grpc-web" },
  { name: "grpc-web: gRPC-Web, binary", by: "grpc-web" },
] as const;

const [batchSize, batches] = [500, 4];

describe.skipIf(chromium.skipped)(chromium.title, async () => {
  const browser: Browser = await startBrowser(chromium);
  // Every call comes from another origin.
  const services = useServices({ CORS_ORIGINS: browser.origin });

  beforeAll(() => browser.open(services.certificate));

  afterAll(() => browser[Symbol.asyncDispose]());

  describe.for(ways)("$name", ({ by }) => {
    test("all four statuses, a malformed and an unknown id", async () => {
      const client = browser.client(by, services.open.url);
      for (const job of jobs) {
        const reqId = await insertJob(services.database.db, job);
        const response = JSON.parse(await documentedJson(services.database.db, reqId));
        expect(await client.ask(reqId)).toEqual({ response });
      }
      expect(await client.ask("a b")).toMatchObject(told.malformed);
      expect(await client.ask(crypto.randomUUID())).toMatchObject(told.notFound);
    });

    // Of a failure, grpc-web shows none of the headers.
    test("no database: an error with RetryInfo, and with the x-request-id that was sent", async () => {
      const requestId = by === "grpc-web" ? undefined : "order/7:first";
      const answer = await browser
        .client(by, services.lost.url)
        .ask(crypto.randomUUID(), requestId === undefined ? {} : { requestId });
      expect(answer).toEqual({ ...told.unavailable, requestId });
    });

    test("over TLS: a deadline that passes, and a call that is cancelled: the statement ends", async () => {
      // HTTP/2: over HTTP/1.1 the service does not learn that a call is cancelled.
      const client = browser.client(by, services.secure.url);
      {
        await using lock = await lockTable(services.database);
        const late = client.ask(crypto.randomUUID(), { timeoutMs: 300 });
        await lock.blocks(1);
        expect(await late).toMatchObject(told.deadlineExceeded);
        await lock.blocks(0);
      }
      // An answer in between, or the database is taken to be gone.
      expect(await client.ask(crypto.randomUUID())).toMatchObject(told.notFound);
      await using lock = await lockTable(services.database);
      const gone = new AbortController();
      const asking = client.ask(crypto.randomUUID(), { signal: gone.signal });
      await lock.blocks(1);
      gone.abort();
      expect(await asking).toMatchObject(told.cancelled);
      await lock.blocks(0);
    });

    test(`over TLS: ${batchSize} calls at once, ${batches} times: none is lost`, async () => {
      const client = browser.client(by, services.secure.url);
      const reqIds = await insertPending(services.database.db, batchSize);
      for (let batch = 0; batch < batches; batch++) {
        const answers = await client.askAll(reqIds);
        expect(answers.filter(({ response }) => response === undefined)).toEqual([]);
      }
    });
  });

  test("fetch, REST: statuses, and an error with its Error-Reason", async () => {
    const client = browser.client("fetch", services.secure.url);
    const reqId = await insertJob(services.database.db);
    const body = await documentedJson(services.database.db, reqId);
    expect(await client.ask(reqId)).toEqual({ rest: { status: 200, body } });
    expect(await client.ask("x")).toMatchObject({ rest: { status: 400, reason: "INVALID_REQ_ID" } });
  });
});
