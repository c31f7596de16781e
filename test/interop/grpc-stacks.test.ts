import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { type Frame, flag, frameType } from "../support/http2-frames.ts";
import { lockTable } from "../support/lock.ts";
import { metricValue } from "../support/metric.ts";
import { type Serving, startServing } from "../support/process.ts";
import { startProxy } from "../support/proxy.ts";
import { documentedJson, insertJob, insertPending } from "../support/rows.ts";
import { type ClientProgram, startClientProgram } from "./client.ts";
import { expected, jobs } from "./expected-answers.ts";
import { buildJava } from "./java.ts";
import { buildRust } from "./rust.ts";
import { buildGo, installPython, root, type Tool } from "./tools.ts";
import { testWaiting } from "./waiting-clients.ts";
import { tap, type Wiretap } from "./wiretap.ts";

/**
 * @param ping the client's keepalive interval, in milliseconds.
 * @param serviceConfig the path of a service config.
 */
type Start = (
  target: string,
  options?: { gzip?: true; ping?: number; serviceConfig?: string },
) => ClientProgram;

const grpcGo = await buildGo("grpc-go", "google.golang.org/grpc");
const grpcio = await installPython("grpcio", [
  "grpcio==1.85.3",
  "grpcio-tools==1.85.1",
  "grpcio-status==1.85.3",
  "googleapis-common-protos==1.76.0",
]);

const tonic = await buildRust("tonic");
const grpcJava = await buildJava("grpc-java", "GrpcJava", "grpc-netty-shaded");

/** The folder of the code that grpcio-tools generates from the proto. */
let generated: string;

const stacks: readonly {
  tool: Tool;
  start: Start;
  leastPing: number;
  late?: object;
  dropsUnsent?: true;
  lacksServiceConfig?: true;
}[] = [
  {
    tool: grpcGo,
    start: (target, { gzip, ping, serviceConfig } = {}) =>
      startClientProgram(grpcGo.path, [
        `-target=${target}`,
        ...(serviceConfig === undefined ? [] : [`-service-config=${serviceConfig}`]),
        ...(gzip ? ["-gzip"] : []),
        ...(ping === undefined ? [] : [`-ping=${ping}ms`]),
      ]),
    // grpc-go's minimum is ten seconds.
    leastPing: 10_000,
  },
  {
    tool: grpcio,
    start: (target, { gzip, ping, serviceConfig } = {}) =>
      startClientProgram(
        grpcio.path,
        [
          join(import.meta.dirname, "grpcio", "client.py"),
          `--target=${target}`,
          ...(serviceConfig === undefined ? [] : [`--service-config=${serviceConfig}`]),
          ...(gzip ? ["--gzip"] : []),
          ...(ping === undefined ? [] : [`--ping=${ping}`]),
        ],
        { PYTHONPATH: generated },
      ),
    leastPing: 1_000,
  },
  {
    tool: grpcJava,
    start: (target, { gzip, ping, serviceConfig } = {}) =>
      startClientProgram(grpcJava.path, [
        ...grpcJava.args,
        `--target=${target}`,
        ...(serviceConfig === undefined ? [] : [`--service-config=${serviceConfig}`]),
        ...(gzip ? ["--gzip"] : []),
        ...(ping === undefined ? [] : [`--ping=${ping}`]),
      ]),
    // grpc-java's minimum, too.
    leastPing: 10_000,
  },
  {
    tool: tonic,
    start: (target, { gzip, ping } = {}) =>
      startClientProgram(tonic.path, [
        `--target=${target}`,
        ...(gzip ? ["--gzip"] : []),
        ...(ping === undefined ? [] : [`--ping=${ping}`]),
      ]),
    leastPing: 1_000,
    // tonic does not retry a call that it had not sent when a GOAWAY came, or that was not processed by the GOAWAY.
    dropsUnsent: true,
    lacksServiceConfig: true,
    // At the deadline, tonic cancels the call itself, or the service answers first.
    late: { status: { code: expect.toSatisfy((code) => code === 1 || code === 4) } },
  },
];

const serviceConfig = join(root, "docs", "use", "grpc-service-config.json");

let database: TestDatabase;
let app: TestApp;
let target: string;

beforeAll(async () => {
  database = await createDatabase();
  app = await startTestApp({ DATABASE_URL: database.url });
  target = `127.0.0.1:${app.port}`;
  generated = await mkdtemp(join(tmpdir(), "gomemory-status-grpcio-"));
  if (grpcio.skipped) return;
  const includes = ["proto", "node_modules/google-gax/build/protos"].map((path) => `-I${path}`);
  const outputs = ["python", "grpc_python"].map((kind) => `--${kind}_out=${generated}`);
  const args = ["-m", "grpc_tools.protoc", ...includes, ...outputs, "gomemory/status/v1/status.proto"];
  await promisify(execFile)(grpcio.path, args);
});

afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
  await rm(generated, { recursive: true, force: true });
});

/** The number of restarts. In each, some calls cross the service's GOAWAY. */
const restarts = 8;

/** tonic's messages for a call that the service has not processed. */
const unsent = /^operation was canceled$|^h2 protocol error/;

/** The number of pings on an idle connection. A server that objects to them closes it at the third. */
const pings = 3;

describe.for(stacks)("$tool.title", ({ tool, start, leastPing, late, dropsUnsent, lacksServiceConfig }) => {
  describe.skipIf(tool.skipped)("gRPC", () => {
    let client: ClientProgram;
    /** A client without calls while the other tests run. */
    let idle: { tap: Wiretap; client: ClientProgram };

    beforeAll(async () => {
      client = start(target);
      const wiretap = await tap(app.port);
      idle = { tap: wiretap, client: start(wiretap.target, { ping: leastPing }) };
      expect(await idle.client.call("x")).toEqual(expected.malformed);
    });

    afterAll(async () => {
      await client[Symbol.asyncDispose]();
      await idle.client[Symbol.asyncDispose]();
      await idle.tap[Symbol.asyncDispose]();
    });

    test.for(jobs)("a status: $status", async (job) => {
      const reqId = await insertJob(database.db, job);
      expect(await client.call(reqId)).toEqual({
        response: JSON.parse(await documentedJson(database.db, reqId)),
      });
    });

    test("a malformed id: INVALID_ARGUMENT, with ErrorInfo and BadRequest", async () => {
      expect(await client.call("a b")).toEqual(expected.malformed);
    });

    test("an unknown id: NOT_FOUND, with ErrorInfo", async () => {
      expect(await client.call(crypto.randomUUID())).toEqual(expected.notFound);
    });

    test("metadata: x-request-id comes back with a failure", async () => {
      await using withoutDatabase = await startTestApp({
        DATABASE_URL: "postgres://nobody@127.0.0.1:1/none",
      });
      await using ownClient = start(`127.0.0.1:${withoutDatabase.port}`);
      const requestId = "order/7:first";
      expect(await ownClient.call(crypto.randomUUID(), { requestId })).toEqual({
        ...expected.unavailable,
        requestId,
      });
    });

    test("a deadline that passes while the database is blocked: DEADLINE_EXCEEDED, and the statement ends", async () => {
      await using lock = await lockTable(database);
      const calling = client.call(crypto.randomUUID(), { timeoutMs: 300 });
      await lock.blocks(1);
      expect(await calling).toMatchObject(late ?? expected.deadlineExceeded);
      await lock.blocksCalls(0);
    });

    test("cancellation: CANCELLED, and the statement ends", async () => {
      await using lock = await lockTable(database);
      const gone = new AbortController();
      const calling = client.call(crypto.randomUUID(), { signal: gone.signal });
      await lock.blocks(1);
      gone.abort();
      expect(await calling).toMatchObject(expected.cancelled);
      await lock.blocksCalls(0);
    });

    test("gzip, both ways", async () => {
      await using wiretap = await tap(app.port);
      await using ownClient = start(wiretap.target, { gzip: true });
      const reqId = await insertJob(database.db, { status: "failure", error: "timeout, ".repeat(500) });
      const response = JSON.parse(await documentedJson(database.db, reqId));
      expect(await ownClient.call(reqId)).toEqual({ response });
      expect(wiretap.fromService.find(isData)?.payload[0]).toBe(compressed);
      // Some clients do not compress a message that gzip would make longer.
      expect(await ownClient.call("x".repeat(4_000))).toEqual(expected.malformed);
      expect(wiretap.fromClient.findLast(isData)?.payload[0]).toBe(compressed);
    });

    test("a request of 60 KiB is read: INVALID_ARGUMENT", async () => {
      expect(await client.call("x".repeat(60 * 2 ** 10))).toEqual(expected.malformed);
    });

    test("a request of 5 MiB: RESOURCE_EXHAUSTED, and the connection goes on", async () => {
      await using wiretap = await tap(app.port);
      await using ownClient = start(wiretap.target);
      expect(await ownClient.call("x".repeat(5 * 2 ** 20))).toMatchObject(expected.tooLarge);
      expect(await ownClient.call(crypto.randomUUID())).toEqual(expected.notFound);
      expect(wiretap.connections).toBe(1);
    });

    test("1,000 calls at once on one connection", async () => {
      await using wiretap = await tap(app.port);
      await using ownClient = start(wiretap.target);
      const reqIds = await insertPending(database.db, 1_000);
      const answers = await ownClient.callAll(reqIds);
      expect(answers).toEqual(
        reqIds.map(() => ({ response: expect.objectContaining({ status: "pending" }) })),
      );
      expect(wiretap.connections).toBe(1);
    });

    const loses = dropsUnsent ? "those that the client drops unprocessed" : "none";
    test(`GOAWAY in the middle of calls: ${restarts} restarts lose ${loses} and double none`, async () => {
      const reqId = await insertJob(database.db);
      const env = { DATABASE_URL: database.url, LOG_REQUESTS: "true" };
      let serving = await startServing(env);
      // The balancer keeps its port across restarts, while the service's may be taken by another program.
      await using balancer = await startProxy(serving.url);
      let answered = 0;
      let served = 0;
      let going = true;
      const wrong: unknown[] = [];
      await using ownClient = start(new URL(balancer.url).host);
      const callers = Array.from({ length: 64 }, async () => {
        while (going) {
          const answer = await ownClient.call(reqId);
          const isUnsent = dropsUnsent && unsent.test(answer.status?.message ?? "");
          if (isUnsent) continue;
          if (answer.response === undefined) wrong.push(answer);
          answered++;
        }
      });
      const answerMore = async (count: number) => {
        const enough = answered + count;
        await expect.poll(() => answered, { timeout: 20_000 }).toBeGreaterThanOrEqual(enough);
      };
      const end = async (service: Serving) => {
        service.kill("SIGTERM");
        expect(await service.exit).toMatchObject({ code: 0 });
        // A client that drops calls resets the streams of those that it has begun: these are CANCELLED, and answer no call twice.
        served += service.logs.filter(({ msg, code }) => msg === "call" && code === "OK").length;
      };
      await answerMore(500);
      for (let restart = 0; restart < restarts; restart++) {
        const next = await startServing(env);
        balancer.redirect(next.url);
        await end(serving);
        serving = next;
        await answerMore(500);
      }
      going = false;
      await Promise.all(callers);
      await end(serving);
      expect(wrong).toEqual([]);
      expect(served).toBe(answered);
    });

    if (!lacksServiceConfig)
      describe("with the service config of the docs", () => {
        const open = (wiretap: Wiretap) => start(wiretap.target, { serviceConfig });
        const attempts = (wiretap: Wiretap) =>
          wiretap.fromClient.filter(({ type }) => type === frameType.headers).length;

        test("calls that are shed: the client retries them after the pushback of the answer", async () => {
          const reqId = await insertJob(database.db);
          await using full = await startFullApp(16);
          await using wiretap = await tap(full.port);
          await using ownClient = open(wiretap);
          const startedAt = performance.now();
          const calls = Array.from({ length: 16 }, async () => {
            const { response } = await ownClient.call(reqId);
            return { response, after: performance.now() - startedAt };
          });
          // A call that has left its client may still be on its way: only an answer proves that it was shed.
          const shed = () => wiretap.fromService.filter(({ type }) => type === frameType.headers).length;
          await expect.poll(shed, { timeout: 10_000 }).toBeGreaterThanOrEqual(16);
          await full.release();
          const answers = await Promise.all(calls);
          const response = JSON.parse(await documentedJson(database.db, reqId));
          expect(answers.map((answer) => answer.response)).toEqual(answers.map(() => response));
          const after = answers.map((answer) => answer.after);
          expect(Math.min(...after)).toBeGreaterThanOrEqual(990);
          // With the backoff of the service config, a client would retry within 1.2 s.
          expect(Math.max(...after)).toBeGreaterThanOrEqual(2_800);
        });

        test("a call that is shed each time: four attempts", async () => {
          await using full = await startFullApp(1);
          await using wiretap = await tap(full.port);
          await using ownClient = open(wiretap);
          expect(await ownClient.call(crypto.randomUUID())).toMatchObject({ status: { code: 8 } });
          expect(attempts(wiretap)).toBe(4);
        });

        test("a watch that is shed: the client opens it again after the pushback of the answer", async () => {
          const reqId = await insertJob(database.db);
          await using full = await startTestApp({ DATABASE_URL: database.url, MAX_WAITING: "1" });
          await using wiretap = await tap(full.port);
          await using ownClient = open(wiretap);
          const first = new AbortController();
          const held = ownClient.watch([reqId], { signal: first.signal });
          await expect.poll(() => held.events.length).toBe(1);
          const second = new AbortController();
          const watch = ownClient.watch([reqId], { signal: second.signal });
          // An answer in trailers alone, which ends its stream.
          const shed = ({ type, flags }: Frame) =>
            type === frameType.headers && (flags & flag.endStream) !== 0;
          await expect.poll(() => wiretap.fromService.filter(shed).length).toBeGreaterThanOrEqual(1);
          first.abort();
          await held.ended;
          await expect.poll(() => watch.events.length, { timeout: 20_000 }).toBe(1);
          expect(attempts(wiretap)).toBeGreaterThanOrEqual(3);
          second.abort();
          await watch.ended;
        });

        test("a call without a database: the client retries it", async () => {
          await using proxy = await startProxy(database.url);
          await using app = await startTestApp({ DATABASE_URL: proxy.url });
          await using wiretap = await tap(app.port);
          const reqId = await insertJob(database.db);
          proxy.cut();
          await using ownClient = open(wiretap);
          const call = ownClient.call(reqId);
          const answers = () => wiretap.fromService.filter(({ type }) => type === frameType.headers);
          await expect.poll(() => answers().length, { timeout: 10_000 }).toBeGreaterThanOrEqual(1);
          await proxy.mend();
          expect(await call).toEqual({ response: JSON.parse(await documentedJson(database.db, reqId)) });
          expect(attempts(wiretap)).toBeGreaterThanOrEqual(2);
        });

        test("a malformed and an unknown id, and a request that is too large: one attempt each", async () => {
          await using wiretap = await tap(app.port);
          await using ownClient = open(wiretap);
          expect(await ownClient.call("a b")).toEqual(expected.malformed);
          expect(await ownClient.call(crypto.randomUUID())).toEqual(expected.notFound);
          expect(await ownClient.call("x".repeat(70_000))).toMatchObject(expected.tooLarge);
          expect(attempts(wiretap)).toBe(3);
        });
      });

    testWaiting({ start: (url) => start(new URL(url).host), ...(late && { late }) });

    test("keepalive pings: the idle connection stays open", async () => {
      const pinged = () => idle.tap.fromClient.filter(isPing).length;
      await expect.poll(pinged, { timeout: 60_000 }).toBeGreaterThanOrEqual(pings);
      expect(await idle.client.call("x")).toEqual(expected.malformed);
      expect(idle.tap.fromService.some(({ type }) => type === frameType.goaway)).toBe(false);
      expect(idle.tap.connections).toBe(1);
    });
  });
});

/** Starts a service that sheds every call until it is released. @param calls MAX_IN_FLIGHT: the calls that fill it. */
async function startFullApp(calls: number) {
  const full = await startTestApp({
    DATABASE_URL: database.url,
    MAX_IN_FLIGHT: String(calls),
    REQUEST_TIMEOUT: "60s",
  });
  const lock = await lockTable(database);
  const held = Array.from({ length: calls }, () => fetch(`${full.url}/get_status/${crypto.randomUUID()}`));
  const inFlight = async () => {
    const metrics = await fetch(`${full.url}/metrics`).then((response) => response.text());
    return metricValue(metrics, "rpc_server_calls_in_flight", { rpc_system_name: "rest" });
  };
  await expect.poll(inFlight, { interval: 5, timeout: 10_000 }).toBe(calls);
  async function release(): Promise<void> {
    await lock[Symbol.asyncDispose]();
    await Promise.all(held);
  }
  return {
    port: full.port,
    release,
    async [Symbol.asyncDispose]() {
      await release();
      await full[Symbol.asyncDispose]();
    },
  };
}

/** The flag of a compressed message (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const compressed = 1;

function isData({ type, payload }: Frame): boolean {
  return type === frameType.data && payload.length > 0;
}

function isPing({ type, flags }: Frame): boolean {
  return type === frameType.ping && (flags & flag.ack) === 0;
}
