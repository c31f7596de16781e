import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createProbes } from "../../src/server/probes.ts";
import { createReadiness } from "../../src/status/readiness.ts";
import { type CallOutcome, observeCalls } from "../../src/telemetry/calls.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  framed,
  getStatusPath,
  healthPath,
  overEvery,
  post,
  reflectionPath,
  send,
  withHeaders,
} from "../support/calls.ts";
import { startAsking } from "../support/hang-up.ts";
import { useKnownJob } from "../support/known-job.ts";
import { getStatusMethod, type Row, reflectionMethod, refusedRows, rows } from "../support/requests.ts";
import { serveEndpoints } from "../support/serve.ts";
import { bearing } from "../support/tokens.ts";
import { refusedWaitingRows, waitingRows } from "../support/waiting/requests.ts";

const job = useKnownJob();

const isCall = ({ msg }: Record<string, unknown>) => msg === "call" || msg === "call failed";

/** What the metrics say: how many calls by protocol, method and code. */
async function countedBy({ url }: TestApp): Promise<Record<string, number>> {
  const text = await (await fetch(`${url}/metrics`, { headers: bearing })).text();
  const line =
    /^rpc_server_call_duration_seconds_count\{rpc_system_name="(.*)",rpc_method="(.*)",rpc_status_code="(.*)"\} (\d+)$/gm;
  return Object.fromEntries(
    Array.from(text.matchAll(line), ([, protocol, method, code, count]) => [
      `${protocol} ${method} ${code}`,
      Number(count),
    ]),
  );
}

/** How many held calls the metrics counted. */
async function heldBy({ url }: TestApp): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { headers: bearing })).text();
  const counts = text.matchAll(/^rpc_server_held_call_duration_seconds_count\{.*\} (\d+)$/gm);
  return Array.from(counts, ([, count]) => Number(count)).reduce((sum, count) => sum + count, 0);
}

/** Whether a call that is logged was held: a stream that was not refused before, unless its row says. */
function wasHeld({ method, code, requestId }: Readonly<Record<string, unknown>>): boolean {
  const { isHeld } = all(job.reqId)[Number(String(requestId).slice(2))] as Row;
  const isStream = /(?:Watch|ServerReflectionInfo)$/.test(String(method));
  return isHeld ?? (isStream && (code === "OK" || code === "DEADLINE_EXCEEDED"));
}

const all = (found: string) => [
  ...rows(found),
  ...waitingRows(found),
  ...refusedRows(found),
  ...refusedWaitingRows(found),
];

describe.for(["on", "off"])("with the fast path %s", (fastPath) => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startTestApp({
      ...job.env,
      LOG_REQUESTS: "true",
      GRPC_FAST_PATH: fastPath,
    });
  });

  afterAll(() => app[Symbol.asyncDispose]());

  test.for(
    all("").map(({ call: { name, protocol }, method, code }, index) => ({
      name,
      protocol,
      method,
      code,
      index,
    })),
  )("$name: one line, $protocol $method $code", async ({ index }) => {
    const row = all(job.reqId)[index] as Row;
    const { call, method, code } = row;
    const before = app.logs.length;
    await send(withHeaders(call, { "X-Request-Id": `r-${index}` }), app.url);
    const lines = () => app.logs.slice(before).filter(isCall);
    await expect.poll(lines, { interval: 5 }).toHaveLength(1);
    const [line] = lines();
    expect(line).toMatchObject({
      level: "info",
      msg: "call",
      protocol: call.protocol,
      method,
      code,
      requestId: `r-${index}`,
      peer: "127.0.0.1",
      duration_ms: expect.any(Number),
    });
    expect(line?.caller).toBe(code === "UNAUTHENTICATED" ? undefined : "alice");
    expect(line?.reqId).toBe(row.reqId);
  });

  test("the metrics count what the log has, and nothing else, and nothing is in flight", async () => {
    const logged: Record<string, number> = {};
    const calls = app.logs.filter(isCall);
    for (const { protocol, method, code } of calls.filter((call) => !wasHeld(call))) {
      const key = `${protocol} ${method} ${code}`;
      logged[key] = (logged[key] ?? 0) + 1;
    }
    expect(await countedBy(app)).toEqual(logged);
    const held = calls.filter(wasHeld);
    expect(held).not.toHaveLength(0);
    expect(await heldBy(app)).toBe(held.length);
    const text = await (await fetch(`${app.url}/metrics`, { headers: bearing })).text();
    const inFlight = text.split("\n").filter((line) => /^rpc_server_calls_in_flight\{.*[1-9]$/.test(line));
    expect(inFlight).toEqual([expect.stringContaining('rpc_method="/metrics"')]);
    expect(text + JSON.stringify(app.logs)).not.toMatch(/made.?up/i);
  });
});

test("shed by MAX_RECEIVING_SIZE: counted, and no fault", async () => {
  await using app = await startTestApp({
    DATABASE_URL: job.env.DATABASE_URL,
    LOG_REQUESTS: "true",
    MAX_RECEIVING_SIZE: "1KiB",
  });
  const body = Buffer.alloc(40_000, 1);
  const calls = [
    ...overEvery("", "connect", post(getStatusPath, "application/json", body)),
    ...overEvery("", "grpc-web", post(getStatusPath, "application/grpc-web", framed(body))),
    ...overEvery("", "grpc", post(getStatusPath, "application/grpc", framed(body))),
  ];
  for (const call of calls) await send(call, app.url);
  expect(app.logs.filter(isCall)).toEqual(
    calls.map(({ protocol }) =>
      expect.objectContaining({
        level: "info",
        protocol,
        method: getStatusMethod,
        code: "RESOURCE_EXHAUSTED",
      }),
    ),
  );
});

test("a request whose body does not come in time is counted once, over HTTP/1.1 and HTTP/2", async () => {
  await using app = await startTestApp({
    DATABASE_URL: job.env.DATABASE_URL,
    LOG_REQUESTS: "true",
    PEER_TIMEOUT: "100ms",
  });
  const body = framed(Buffer.from("{}"));
  const calls = [
    ...overEvery("", "connect", post(getStatusPath, "application/json", body)),
    ...overEvery("", "grpc-web", post(getStatusPath, "application/grpc-web", body)),
    ...overEvery("", "grpc", post(getStatusPath, "application/grpc", body)),
  ];
  for (const call of calls) await startAsking(call, app.url, true).closed;
  await expect
    .poll(() => app.logs.filter(isCall), { interval: 5 })
    .toEqual(
      calls.map(({ protocol }) =>
        expect.objectContaining({ level: "info", protocol, method: getStatusMethod, code: "CANCELLED" }),
      ),
    );
});

test("without LOG_REQUESTS, none of it is logged: the service is not at fault", async () => {
  await using app = await startTestApp({ DATABASE_URL: job.env.DATABASE_URL });
  for (const { call } of rows(job.reqId)) await send(call, app.url);
  expect(app.logs.filter(isCall)).toEqual([]);
});

test("a probe that fails is a fault like any other: with an id, a line, and nothing of its text", async () => {
  const ended: CallOutcome[] = [];
  const observe = observeCalls([() => ({ ended: (outcome) => void ended.push(outcome) })]);
  const secret = new Error("password=hunter2");
  const ready = createReadiness(() => Promise.resolve("ready"));
  const probes = createProbes(ready, { contentType: "", text: () => Promise.reject(secret) });
  await using served = await serveEndpoints([], { probes, observe });
  const response = await fetch(`${served.url}/metrics`);
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain("hunter2");
  expect(ended).toMatchObject([{ code: "INTERNAL", fault: secret }]);
  expect(response.headers.get("x-request-id")).toBe(ended[0]?.call.requestId);
  expect(response.headers.get("x-request-id")).toBeTruthy();
});

test("streams that end because the service stops are not faults", async () => {
  const app = await startTestApp({
    DATABASE_URL: job.env.DATABASE_URL,
    LOG_REQUESTS: "true",
    SHUTDOWN_TIMEOUT: "500ms",
  });
  const body = framed(Buffer.from("\x3a\x00"));
  const streams = [
    ...overEvery("", "grpc", post(reflectionPath, "application/grpc", Buffer.concat([body, body]))),
    ...overEvery("", "grpc", post(healthPath("Watch"), "application/grpc", framed(new Uint8Array()))),
  ].map((call) => startAsking(call, app.url, call.asked.path === reflectionPath));
  for (const { answered } of streams) await answered;
  await app[Symbol.asyncDispose]();
  for (const { closed } of streams) await closed;
  expect(app.logs.filter(isCall)).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ level: "info", method: reflectionMethod, code: "UNAVAILABLE" }),
      expect.objectContaining({ level: "info", method: "grpc.health.v1.Health/Watch", code: "OK" }),
    ]),
  );
  expect(app.logs.filter(isCall)).toHaveLength(2);
});
