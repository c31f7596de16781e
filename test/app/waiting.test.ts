import { once } from "node:events";
import { get } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { buffer, text } from "node:stream/consumers";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  GetStatusResponse_Status as Status,
  StatusService,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { parseReqId } from "../../src/status/req-id.ts";
import { createJobLedger } from "../../src/store/jobs/job-ledger.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder } from "../support/folder.ts";
import { metricValue } from "../support/metric.ts";
import { documentedJson, insertJob, insertPending } from "../support/rows.ts";
import { bearing, tokenLine } from "../support/tokens.ts";
import { batchOverGrpc, waitOverGrpc, watchOverGrpc } from "../support/waiting/grpc-ways.ts";
import { startJobWriter } from "../support/waiting/job-writer.ts";
import { batchOverRest, eventsOverRest, waitOverRest } from "../support/waiting/rest-ways.ts";
import { startWaitingClients } from "../support/waiting/waiting-clients.ts";

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

const start = (env: Readonly<Record<string, string>> = {}) =>
  startTestApp({ DATABASE_URL: database.url, ...env });

const events = { headers: { Accept: "text/event-stream", ...bearing } };

function grpcOf({ url }: TestApp) {
  const client = createClient(StatusService, createGrpcTransport({ baseUrl: url }));
  return {
    wait: (reqId: string, wait: number, options = {}) =>
      client.getStatus({ reqId, wait: durationFromMs(wait) }, options),
    get: (reqId: string) => client.getStatus({ reqId }),
    watch: (reqIds: readonly string[], options = {}) =>
      client.watchStatus({ reqIds: [...reqIds] }, options)[Symbol.asyncIterator](),
  };
}

async function metricsOf({ url }: TestApp) {
  const body = await (await fetch(`${url}/metrics`, { headers: bearing })).text();
  return (name: string, labels: Readonly<Record<string, string>> = {}) =>
    metricValue(body, name, labels) ?? 0;
}

/** Waits until this number of calls of a kind are held, and have been read for the first time. */
async function heldCalls(app: TestApp, kind: string, count: number, ids = count): Promise<void> {
  const held = async () => {
    const metric = await metricsOf(app);
    return [metric("rpc_server_held_calls", { kind }), metric("status_watched_ids")];
  };
  await expect.poll(held, { interval: 5 }).toEqual([count, ids]);
}

async function succeed(...reqIds: readonly string[]): Promise<void> {
  const ledger = createJobLedger(database.db);
  for (const reqId of reqIds) await ledger.succeed(parseReqId(reqId));
}

/** @returns the error that a call or a stream fails with. */
async function failureOf(call: Promise<unknown>): Promise<{ code: Code; reason?: string; limit?: string }> {
  const error = await call.then(
    () => Promise.reject(new Error("the call does not fail")),
    (reason) => ConnectError.from(reason),
  );
  const [info] = error.findDetails(ErrorInfoSchema);
  return { code: error.code, ...info?.metadata, ...(info && { reason: info.reason }) };
}

test("every way to wait is told the end of every job, nothing twice and nothing that was not written", async () => {
  await using app = await start();
  await using writer = await startJobWriter(database.url, { jobs: 60, pace: 10 });
  const urls = [app.url];
  const groups = [
    { way: watchOverGrpc(8), clients: 10, urls },
    { way: waitOverGrpc(500), clients: 10, urls },
    { way: batchOverGrpc(20, 50), clients: 2, urls },
    { way: eventsOverRest(), clients: 10, urls },
    { way: waitOverRest(500), clients: 10, urls },
    { way: batchOverRest(20, 50), clients: 2, urls },
  ];
  await using clients = startWaitingClients({ writer, groups });
  for (let written = 0; written < 100; written++) await writer.acknowledged();
  await writer.finish();
  await clients.finish();
  for (const { way, delivered, wrong, ends, complaints } of clients.takeTallies()) {
    expect({ way, wrong, complaints }).toEqual({ way, wrong: 0, complaints: [] });
    expect(delivered, way).toBeGreaterThan(0);
    expect(Object.keys(ends), way).toEqual(["OK"]);
  }
  const metric = await metricsOf(app);
  expect(metric("status_watched_ids")).toBe(0);
  for (const kind of ["wait", "watch", "events"]) {
    expect(metric("rpc_server_held_calls", { kind }), kind).toBe(0);
    const labels = { kind, outcome: "final" };
    expect(metric("rpc_server_held_call_duration_seconds_count", labels), kind).toBeGreaterThan(0);
  }
  for (const count of [
    "status_poll_ids",
    "status_poll_rows",
    "status_poll_statements",
    "status_watch_lag_seconds",
  ]) {
    expect(metric(`${count}_count`), count).toBeGreaterThan(0);
  }
});

describe("a wait", () => {
  test("that is parked takes no place in MAX_IN_FLIGHT, and lookups beside it are answered", async () => {
    await using app = await start({ MAX_IN_FLIGHT: "2" });
    const grpc = grpcOf(app);
    const reqIds = await insertPending(database.db, 20);
    const answers: Promise<boolean>[] = [];
    // One after the other: the first read of a wait takes such a place.
    for (const [index, reqId] of reqIds.entries()) {
      answers.push(
        index % 2 === 0
          ? grpc.wait(reqId, 30_000).then(({ status }) => status === Status.success)
          : fetch(`${app.url}/get_status/${reqId}?wait=30s`).then(async (answer) =>
              (await answer.text()).startsWith('{"status":"success"'),
            ),
      );
      await heldCalls(app, "wait", index + 1);
    }
    for (const reqId of reqIds) {
      expect((await grpc.get(reqId)).status).toBe(Status.pending);
      const answer = await fetch(`${app.url}/get_status/${reqId}`);
      expect(await answer.text()).toBe(await documentedJson(database.db, reqId));
    }
    await succeed(...reqIds);
    expect(await Promise.all(answers)).toEqual(reqIds.map(() => true));
  });

  test("ends before the deadline of its caller, with OK and the status as it is", async () => {
    await using app = await start();
    const reqId = await insertJob(database.db, { status: "processing" });
    expect(await grpcOf(app).wait(reqId, 30_000, { timeoutMs: 500 })).toMatchObject({
      status: Status.processing,
    });
    const metric = await metricsOf(app);
    const labels = { kind: "wait", outcome: "time over" };
    expect(metric("rpc_server_held_call_duration_seconds_count", labels)).toBe(1);
    expect(metric("rpc_server_call_duration_seconds_count", { rpc_system_name: "grpc" })).toBe(0);
  });

  test("that is longer than MAX_WAIT is shortened to it", async () => {
    await using app = await start({ MAX_WAIT: "50ms" });
    const reqId = await insertJob(database.db);
    expect(await grpcOf(app).wait(reqId, 3_600_000)).toMatchObject({ status: Status.pending });
    const headers = { Prefer: "wait=3600" };
    const answer = await fetch(`${app.url}/get_status/${reqId}`, { headers });
    expect(answer.headers.get("preference-applied")).toBe("wait=0");
    expect(await answer.text()).toBe(await documentedJson(database.db, reqId));
  });

  test("whose caller ends its sending side is answered at once", async () => {
    await using app = await start();
    const reqId = await insertJob(database.db);
    const socket = connect(app.port, "127.0.0.1");
    socket.write(`GET /get_status/${reqId}?wait=30s HTTP/1.1\r\nHost: x\r\n\r\n`);
    await heldCalls(app, "wait", 1);
    socket.end();
    const answer = (await buffer(socket)).toString();
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).toContain(await documentedJson(database.db, reqId));
  });
});

describe("limits of held calls shed, with their names", () => {
  const rows = [
    { limit: "MAX_WAITING", value: "1" },
    { limit: "MAX_WATCHED", value: "1" },
    { limit: "MAX_WATCHED_PAIRS", value: "1" },
    // 80 % of it.
    { limit: "MAX_CONCURRENT_STREAMS", value: "2" },
  ];
  test.for(rows)("$limit", async ({ limit, value }) => {
    await using app = await start({ [limit]: value });
    const grpc = grpcOf(app);
    const [first, second] = (await insertPending(database.db, 2)) as [string, string];
    const watch = grpc.watch([first]);
    expect((await watch.next()).value).toMatchObject({ event: { case: "status" } });
    const shed = { code: Code.ResourceExhausted, reason: "OVERLOADED", limit };
    expect(await failureOf(grpc.wait(second, 30_000))).toEqual(shed);
    expect(await failureOf(grpc.watch([second]).next())).toEqual(shed);
    if (limit !== "MAX_CONCURRENT_STREAMS") {
      const answer = await fetch(`${app.url}/get_status/${second}?wait=30s`);
      expect([answer.status, answer.headers.get("error-limit")]).toEqual([503, limit]);
      expect(answer.headers.get("retry-after")).toMatch(/^[1-5]$/);
      // An EventSource comes back after a 200 alone.
      const unavailable = await (await fetch(`${app.url}/get_status/${second}`, events)).text();
      expect(unavailable).toMatch(/^retry: \d{4}\n\nevent: unavailable\ndata: {"reason":"OVERLOADED"}\n\n$/);
    }
    // Without a wait, it is a call like any other.
    expect((await grpc.get(second)).status).toBe(Status.pending);
    await succeed(first);
    expect((await watch.next()).value).toMatchObject({
      event: { value: { status: { status: Status.success } } },
    });
    expect((await watch.next()).done).toBe(true);
    const metric = await metricsOf(app);
    const labels = { kind: "wait", outcome: limit };
    expect(metric("rpc_server_held_call_duration_seconds_count", labels)).toBeGreaterThan(0);
  });
});

test("a removed token ends the watches and events of its callers, and lets their waits end as they would have", async () => {
  await using folder = await createFolder();
  const file = await folder.write("tokens", tokenLine("alice", "of-alice") + tokenLine("bob", "of-bob"));
  await using app = await start({ AUTH_TOKENS_FILE: file });
  const grpc = grpcOf(app);
  const reqId = await insertJob(database.db);
  const watch = grpc.watch([reqId], { headers: { Authorization: "Bearer of-bob" } });
  await watch.next();
  const ofBob = { Authorization: "Bearer of-bob" };
  const stream = await fetch(`${app.url}/get_status/${reqId}`, { headers: { ...events.headers, ...ofBob } });
  const wait = grpc.wait(reqId, 30_000, { headers: ofBob });
  const ofAlice = await fetch(`${app.url}/get_status/${reqId}`, events);
  await heldCalls(app, "wait", 1, 1);

  await folder.write("tokens", tokenLine("alice", "of-alice"));
  expect(await failureOf(watch.next())).toEqual({ code: Code.Unauthenticated, reason: "UNAUTHENTICATED" });
  expect(await stream.text()).not.toContain("event: end");
  await succeed(reqId);
  expect((await wait).status).toBe(Status.success);
  expect(await ofAlice.text()).toMatch(/"status":"success"[\s\S]*event: end\ndata: {"reason":"FINAL"}\n\n$/);
});

test("draining: waits are answered with the status as it is, watches and events end with GOING_AWAY", async () => {
  const app = await start({ SHUTDOWN_TIMEOUT: "1s" });
  const grpc = grpcOf(app);
  const reqIds = await insertPending(database.db, 10);
  const waits = reqIds.map((reqId) => grpc.wait(reqId, 30_000));
  const watches = reqIds.map((reqId) => grpc.watch([reqId]));
  for (const watch of watches) await watch.next();
  const streams = await Promise.all(reqIds.map((reqId) => fetch(`${app.url}/get_status/${reqId}`, events)));
  const polls = reqIds.map(async (reqId) => {
    const [response] = await once(get(`${app.url}/get_status/${reqId}?wait=30s`), "response");
    return [response.statusCode, JSON.parse(await text(response)).status];
  });
  const session = connectHttp2(app.url);
  const bare = session.request({ ":path": `/get_status/${reqIds[0]}?wait=30s` });
  const body = text(bare);
  const order: string[] = [];
  session.once("goaway", () => order.push("GOAWAY"));
  bare.once("response", () => order.push("answer"));
  await heldCalls(app, "wait", 21, 10);

  const stopped = app[Symbol.asyncDispose]();
  const ends = watches.map(async (watch) => {
    const error = ConnectError.from(await watch.next().catch((reason: unknown) => reason));
    const [retry] = error.findDetails(RetryInfoSchema);
    return [error.code, error.findDetails(ErrorInfoSchema)[0]?.reason, retry?.retryDelay === undefined];
  });
  expect(await Promise.all(ends)).toEqual(reqIds.map(() => [Code.Unavailable, "GOING_AWAY", false]));
  for (const stream of streams) {
    expect(await stream.text()).toMatch(
      /"status":"pending"[\s\S]*event: end\ndata: {"reason":"GOING_AWAY"}\n\n$/,
    );
  }
  expect((await Promise.all(waits)).map(({ status }) => status)).toEqual(reqIds.map(() => Status.pending));
  expect(await Promise.all(polls)).toEqual(reqIds.map(() => [200, "pending"]));
  expect(await body).toBe(await documentedJson(database.db, reqIds[0] as string));
  expect(order).toEqual(["GOAWAY", "answer"]);
  await stopped;
});
