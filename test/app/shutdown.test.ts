import { once } from "node:events";
import { type ClientRequest, get as httpGet, type IncomingMessage } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  GetStatusResponse_Status as Status,
  StatusService,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../src/gen/health/v1/health_pb.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { type Exit, type Running, runCli, type Serving, startServing } from "../support/process.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

/** Migrated. Every test leaves it without connections of a service. */
let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database[Symbol.asyncDispose]());

/** Calls that the test holds back must not end by themselves. */
const longTimeouts = { REQUEST_TIMEOUT: "1h", SHUTDOWN_TIMEOUT: "1m" };

/** A GET over HTTP/1.1 on a connection that the client would keep. */
function get(url: string): { request: ClientRequest; response: Promise<IncomingMessage> } {
  const request = httpGet(url, { headers: { Connection: "keep-alive" } });
  const response = once(request, "response").then(([message]) => message as IncomingMessage);
  return { request, response };
}

function grpcClient({ url }: Serving) {
  return createClient(StatusService, createGrpcTransport({ baseUrl: url }));
}

/** The service's connections to a database. */
async function connectionsTo({ pool }: TestDatabase): Promise<number> {
  const { rowCount } = await pool.query(`
    select from pg_stat_activity
    where datname = current_database() and application_name like 'gomemory-status@%'`);
  return rowCount ?? 0;
}

/** The database notices shortly after the end of a process that it is gone. */
async function expectNoConnections(database: TestDatabase): Promise<void> {
  await expect.poll(() => connectionsTo(database), { interval: 10, timeout: 10_000 }).toBe(0);
}

function expectOrderlyEnd(exit: Exit): void {
  expect(exit).toMatchObject({ code: 0, stderr: "" });
  expect(exit.stdout).toContain('"msg":"stopped"');
}

describe("a signal while the service serves", () => {
  test.for([
    "SIGTERM",
    "SIGINT",
    "SIGHUP",
    "SIGQUIT",
  ] as const)("%s ends it with exit code 0, and nothing is left", async (signal) => {
    await using service = await startServing({ DATABASE_URL: database.url });
    expect(await connectionsTo(database)).toBeGreaterThan(0);
    service.kill(signal);
    expectOrderlyEnd(await service.exit);
    expect(service.logs.map((line) => line.msg)).toEqual([
      "starting",
      "ready",
      "listening",
      "stopping",
      "stopped",
    ]);
    await expectNoConnections(database);
  });

  test.for([
    "SIGTERM",
    "SIGHUP",
    "SIGQUIT",
  ] as const)("%s: calls finish, over REST and over gRPC", async (signal) => {
    const reqId = await insertJob(database.db, { status: "failure", error: "timeout" });
    await using service = await startServing({ DATABASE_URL: database.url, ...longTimeouts });
    await using lock = await lockTable(database);
    const rest = get(`${service.url}/get_status/${reqId}`);
    await lock.blocksCalls(1);
    const grpc = grpcClient(service).getStatus({ reqId });
    await lock.blocksCalls(2);

    service.kill(signal);
    await service.logged("stopping");
    await lock[Symbol.asyncDispose]();

    const response = await rest.response;
    expect(response.statusCode).toBe(200);
    expect(response.headers.connection).toBe("close");
    expect(await text(response)).toBe(await documentedJson(database.db, reqId));
    expect(await grpc).toMatchObject({ status: Status.failure, error: "timeout" });
    expectOrderlyEnd(await service.exit);
    await expectNoConnections(database);
  });
});

describe("once the service stops", () => {
  test("idle connections are closed and new ones are refused, while a call still runs", async () => {
    const reqId = await insertJob(database.db);
    await using service = await startServing({ DATABASE_URL: database.url, ...longTimeouts });
    const silent = connect(service.port, "127.0.0.1");
    await once(silent, "connect");
    const idle = connect(service.port, "127.0.0.1");
    idle.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await once(idle, "data");
    await using lock = await lockTable(database);
    const call = get(`${service.url}/get_status/${reqId}`);
    await lock.blocksCalls(1);

    const closed = [silent, idle].map((socket) => once(socket.resume(), "close"));
    service.kill("SIGTERM");
    await Promise.all(closed);
    const [refusal] = await once(connect(service.port, "127.0.0.1"), "error");
    expect(refusal).toMatchObject({ code: "ECONNREFUSED" });
    await lock[Symbol.asyncDispose]();
    expect((await call.response).resume().statusCode).toBe(200);
    expectOrderlyEnd(await service.exit);
  });

  test("HTTP/2 connections get GOAWAY, finish their streams and are closed", async () => {
    const reqId = await insertJob(database.db);
    await using service = await startServing({ DATABASE_URL: database.url, ...longTimeouts });
    await using lock = await lockTable(database);
    const [busy, idle] = [connectHttp2(service.url), connectHttp2(service.url)];
    await once(idle, "remoteSettings");
    const stream = busy.request({ ":path": `/get_status/${reqId}` });
    const response = once(stream, "response");
    const body = text(stream);
    await lock.blocksCalls(1);

    const goaways = [busy, idle].map((session) => once(session, "goaway"));
    const closed = [busy, idle].map((session) => once(session, "close"));
    service.kill("SIGTERM");
    for (const [code] of await Promise.all(goaways)) expect(code).toBe(0);
    await closed[1];
    await lock[Symbol.asyncDispose]();
    expect((await response)[0]).toMatchObject({ ":status": 200 });
    expect(await body).toBe(await documentedJson(database.db, reqId));
    await closed[0];
    expectOrderlyEnd(await service.exit);
  });

  test("health watches report NOT_SERVING, and end", async () => {
    await using service = await startServing({ DATABASE_URL: database.url, ...longTimeouts });
    const health = createClient(Health, createGrpcTransport({ baseUrl: service.url }));
    const statuses: ServingStatus[] = [];
    for await (const { status } of health.watch({})) {
      if (statuses.push(status) === 1) service.kill("SIGTERM");
    }
    expect(statuses).toEqual([ServingStatus.SERVING, ServingStatus.NOT_SERVING]);
    expectOrderlyEnd(await service.exit);
  });

  test("calls that wait are answered before SHUTDOWN_TIMEOUT cuts them off", async () => {
    const reqId = await insertJob(database.db);
    await using service = await startServing({ DATABASE_URL: database.url, SHUTDOWN_TIMEOUT: "2s" });
    const wait = get(`${service.url}/get_status/${reqId}?wait=30s`);
    const headers = { Accept: "text/event-stream" };
    const events = await fetch(`${service.url}/get_status/${reqId}`, { headers });
    const watch = grpcClient(service).watchStatus({ reqIds: [reqId] });
    const told: unknown[] = [];
    const watching = (async () => {
      for await (const { event } of watch) if (told.push(event.case) === 1) service.kill("SIGTERM");
    })();
    await expect(watching).rejects.toMatchObject({
      code: Code.Unavailable,
      rawMessage: expect.stringContaining("shuts down"),
    });
    expect(told).toEqual(["status"]);
    const response = await wait.response;
    expect([response.statusCode, response.headers.connection]).toEqual([200, "close"]);
    expect(await text(response)).toBe(await documentedJson(database.db, reqId));
    expect(await events.text()).toMatch(/event: end\ndata: {"reason":"GOING_AWAY"}\n\n$/);
    expectOrderlyEnd(await service.exit);
    await expectNoConnections(database);
  });

  test("SHUTDOWN_DELAY: the service reports that it is not ready, and serves until the delay has passed", async () => {
    const reqId = await insertJob(database.db);
    await using service = await startServing({ DATABASE_URL: database.url, SHUTDOWN_DELAY: "500ms" });
    const statusOf = async (path: string) => {
      const response = await fetch(`${service.url}${path}`, { headers: { Connection: "close" } });
      await response.text();
      return response.status;
    };
    expect(await statusOf("/readyz")).toBe(200);

    const started = performance.now();
    service.kill("SIGTERM");
    await service.logged("stopping");
    expect(await statusOf("/readyz")).toBe(503);
    expect(await statusOf(`/get_status/${reqId}`)).toBe(200);
    expectOrderlyEnd(await service.exit);
    expect(performance.now() - started).toBeGreaterThan(495);
  });

  test("SHUTDOWN_TIMEOUT limits calls, and clients that send nothing more", async () => {
    const reqId = await insertJob(database.db);
    await using service = await startServing({
      DATABASE_URL: database.url,
      ...longTimeouts,
      SHUTDOWN_TIMEOUT: "300ms",
    });
    const slow = connect(service.port, "127.0.0.1");
    slow.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHo");
    await once(slow, "data");
    await using lock = await lockTable(database);
    const rest = get(`${service.url}/get_status/${reqId}`);
    rest.response.catch(() => {});
    await lock.blocksCalls(1);
    const grpc = grpcClient(service).getStatus({ reqId });
    grpc.catch(() => {});
    await lock.blocksCalls(2);

    const started = performance.now();
    service.kill("SIGTERM");
    expectOrderlyEnd(await service.exit);
    const took = performance.now() - started;
    expect(took).toBeGreaterThan(295);
    expect(took).toBeLessThan(3_000);
    await expect(rest.response).rejects.toThrow();
    await expect(grpc).rejects.toThrow();
    // The lock is still held: what waited for it has been cancelled.
    await expectNoConnections(database);
  });
});

describe("a second signal", () => {
  /** A service that is stopping, and has one call left that does not end. */
  async function stopping(by: NodeJS.Signals) {
    await using started = new AsyncDisposableStack();
    const reqId = await insertJob(database.db);
    const service = started.use(await startServing({ DATABASE_URL: database.url, ...longTimeouts }));
    const lock = started.use(await lockTable(database));
    const { response } = get(`${service.url}/get_status/${reqId}`);
    response.catch(() => {});
    await lock.blocksCalls(1);
    service.kill(by);
    return { service, lock, response, stack: started.move() };
  }

  test.for([
    { first: "SIGTERM", second: "SIGTERM", code: 143 },
    { first: "SIGINT", second: "SIGINT", code: 130 },
    { first: "SIGHUP", second: "SIGTERM", code: 143 },
    { first: "SIGTERM", second: "SIGQUIT", code: 131 },
  ] as const)("$second after $first ends it at once, with exit code $code", async ({
    first,
    second,
    code,
  }) => {
    const { service, response, stack } = await stopping(first);
    await using _ = stack;
    await service.logged("stopping");
    // Longer than one press of Ctrl-C takes to arrive twice.
    await pause(300);
    service.kill(second);
    expect(await service.exit).toMatchObject({ code, stderr: "" });
    await expect(response).rejects.toThrow();
  });

  test("at the same moment is the same press of Ctrl-C, of which npm passes on its copy", async () => {
    // Two of the same kind might arrive as one.
    const { service, lock, response, stack } = await stopping("SIGINT");
    await using _ = stack;
    service.kill("SIGTERM");
    await service.logged("stopping");
    await lock[Symbol.asyncDispose]();
    expect((await response).resume().statusCode).toBe(200);
    expectOrderlyEnd(await service.exit);
  });
});

/** Accepts connections and does not answer. */
async function startSilentServer() {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `postgres://nobody@127.0.0.1:${(server.address() as AddressInfo).port}/none`,
    connection: once(server, "connection"),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

describe("a signal while the service starts", () => {
  async function stop(service: Running, signal: NodeJS.Signals = "SIGTERM"): Promise<Exit> {
    const started = performance.now();
    service.kill(signal);
    const exit = await service.exit;
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(exit.stdout).not.toContain('"msg":"listening"');
    return exit;
  }

  test("ends it before it has said a word", async () => {
    await using service = runCli(["serve"], { DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" });
    await once(service.process, "spawn");
    const { code, signal } = await stop(service);
    // Until Node runs our code, the kernel does it.
    expect(signal ?? code).toBe(signal === null ? 0 : "SIGTERM");
  });

  test.for([
    "SIGTERM",
    "SIGINT",
    "SIGHUP",
    "SIGQUIT",
  ] as const)("%s ends it after its first word", async (signal) => {
    await using service = runCli(["serve"], { DATABASE_URL: database.url, PORT: "0" });
    await service.logged("starting");
    expectOrderlyEnd(await stop(service, signal));
    await expectNoConnections(database);
  });

  test("ends it while the database accepts the connection and does not answer", async () => {
    await using silent = await startSilentServer();
    await using service = runCli(["serve"], { DATABASE_URL: silent.url, PORT: "0" });
    await silent.connection;
    expectOrderlyEnd(await stop(service));
  });

  test("ends it while its first look at the table waits for a lock", async () => {
    await using lock = await lockTable(database);
    await using service = runCli(["serve"], { DATABASE_URL: database.url, PORT: "0", REQUEST_TIMEOUT: "1s" });
    await lock.blocks(1);
    expectOrderlyEnd(await stop(service));
    await expectNoConnections(database);
  });

  test.for([
    { command: "serve", env: { MIGRATE: "true", PORT: "0" }, signal: "SIGTERM", code: 0 },
    // A script that continues after the command must not take the database for migrated.
    { command: "migrate", env: {}, signal: "SIGINT", code: 1 },
    { command: "migrate", env: {}, signal: "SIGHUP", code: 1 },
    { command: "migrate", env: {}, signal: "SIGQUIT", code: 1 },
  ] as const)("$signal ends `$command` with exit code $code while its migration waits for another", async (row) => {
    await using empty = await createDatabase({ migrated: false });
    const other = new pg.Client({ connectionString: empty.url });
    await other.connect();
    await using _ = { [Symbol.asyncDispose]: () => other.end() };
    await other.query("begin; create table memory_job ()");
    await using service = runCli([row.command], { DATABASE_URL: empty.url, ...row.env });
    // Of this database alone: tests that run meanwhile wait for locks in others.
    const waiting = async () =>
      (
        await empty.pool.query(
          "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
      ).rowCount;
    await expect.poll(waiting, { interval: 10, timeout: 10_000 }).toBe(1);

    const exit = await stop(service, row.signal);
    expect(exit).toMatchObject({ code: row.code, stderr: "" });
    expect(exit.stdout).toContain('"msg":"stopped"');
    // Nobody heard that the statement need not wait any more; but what it does then, it cannot commit.
    await other.query("rollback");
    await expectNoConnections(empty);
    const { rows } = await empty.pool.query("select to_regclass('memory_job') as found");
    expect(rows).toEqual([{ found: null }]);
  });

  test("ends it while the database holds its first question back", async () => {
    await using lock = await lockTable(database);
    await using service = runCli(["serve"], { DATABASE_URL: database.url, PORT: "0", ...longTimeouts });
    await lock.blocks(1);
    expectOrderlyEnd(await stop(service, "SIGTERM"));
    await lock[Symbol.asyncDispose]();
    await expectNoConnections(database);
  });
});
