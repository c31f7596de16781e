import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lockTable } from "../support/lock.ts";
import { documentedJson, insertJob, insertPending } from "../support/rows.ts";
import { type Browser, installBrowser, startBrowser } from "./browser.ts";
import { testEventSource } from "./event-source.ts";
import { expected, jobs } from "./expected-answers.ts";
import { useServices } from "./services.ts";
import { testWaiting } from "./waiting-clients.ts";

const chromium = await installBrowser();

const clients = [
  { name: "connect-web: Connect, binary", by: "connect" },
  // A URL with more ids is longer than the service's MAX_HEADER_SIZE.
  { name: "connect-web: Connect, JSON, GET", by: "connect-json-get", mostIds: 100 },
  { name: "connect-web: gRPC-Web", by: "connect-grpc-web" },
  // Only in its text format, which Connect does not serve, does it show events before the stream has ended.
  { name: "grpc-web: gRPC-Web, binary", by: "grpc-web", collectsEvents: true },
] as const;

const [batchSize, batches] = [500, 4];

describe.skipIf(chromium.skipped)(chromium.title, async () => {
  const browser: Browser = await startBrowser(chromium);
  // All calls are cross-origin.
  const settings = { CORS_ORIGINS: browser.origin };
  const services = useServices(settings);

  beforeAll(() => browser.open(services.certificate));

  afterAll(() => browser[Symbol.asyncDispose]());

  describe.for(clients)("$name", ({ by, ...peculiar }) => {
    test("all four statuses, a malformed and an unknown id", async () => {
      const client = browser.client(by, services.open.url);
      for (const job of jobs) {
        const reqId = await insertJob(services.database.db, job);
        const response = JSON.parse(await documentedJson(services.database.db, reqId));
        expect(await client.call(reqId)).toEqual({ response });
      }
      expect(await client.call("a b")).toMatchObject(expected.malformed);
      expect(await client.call(crypto.randomUUID())).toMatchObject(expected.notFound);
    });

    // grpc-web does not expose the headers of a failure.
    test("no database: an error with RetryInfo, and with the x-request-id that was sent", async () => {
      const requestId = by === "grpc-web" ? undefined : "order/7:first";
      const answer = await browser
        .client(by, services.withoutDatabase.url)
        .call(crypto.randomUUID(), requestId === undefined ? {} : { requestId });
      expect(answer).toEqual({ ...expected.unavailable, requestId });
    });

    test("over TLS: a deadline that passes, and a call that is cancelled: the statement ends", async () => {
      // HTTP/2: over HTTP/1.1 the service does not notice the cancellation.
      const client = browser.client(by, services.secure.url);
      {
        await using lock = await lockTable(services.database);
        const late = client.call(crypto.randomUUID(), { timeoutMs: 300 });
        await lock.blocks(1);
        expect(await late).toMatchObject(expected.deadlineExceeded);
        await lock.blocksCalls(0);
      }
      // A successful call closes the breaker again.
      expect(await client.call(crypto.randomUUID())).toMatchObject(expected.notFound);
      await using lock = await lockTable(services.database);
      const gone = new AbortController();
      const calling = client.call(crypto.randomUUID(), { signal: gone.signal });
      await lock.blocks(1);
      gone.abort();
      expect(await calling).toMatchObject(expected.cancelled);
      await lock.blocksCalls(0);
    });

    test(`over TLS: ${batchSize} calls at once, ${batches} times: none is lost`, async () => {
      const client = browser.client(by, services.secure.url);
      const reqIds = await insertPending(services.database.db, batchSize);
      for (let batch = 0; batch < batches; batch++) {
        const answers = await client.callAll(reqIds);
        expect(answers.filter(({ response }) => response === undefined)).toEqual([]);
      }
    });

    testWaiting({ start: (url) => browser.client(by, url), settings, ...peculiar });
  });

  testEventSource(browser, services, settings);

  test("fetch, REST: statuses, and an error with its Error-Reason", async () => {
    const client = browser.client("fetch", services.secure.url);
    const reqId = await insertJob(services.database.db);
    const body = await documentedJson(services.database.db, reqId);
    expect(await client.call(reqId)).toEqual({ rest: { status: 200, body } });
    expect(await client.call("x")).toMatchObject({ rest: { status: 400, reason: "INVALID_REQ_ID" } });
  });
});
