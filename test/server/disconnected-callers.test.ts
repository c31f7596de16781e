import { randomUUID } from "node:crypto";
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  type MockInstance,
  test,
  vi,
} from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  framed,
  getStatusCalls,
  getStatusPath,
  healthPath,
  overEvery,
  post,
  type RawCall,
} from "../support/calls.ts";
import { startAsking } from "../support/hang-up.ts";
import { cancelledCall, preface } from "../support/http2-frames.ts";
import { useKnownJob } from "../support/known-job.ts";
import { lockTable } from "../support/lock.ts";
import { metricValue } from "../support/metric.ts";
import { openPeer } from "../support/peer.ts";
import { getStatusMethod } from "../support/requests.ts";

const watchMethod = "grpc.health.v1.Health/Watch";

const job = useKnownJob();

const calls = getStatusCalls(randomUUID());
const withBodies = calls.filter(({ asked }) => asked.body !== undefined);
const empty = framed(new Uint8Array());
const watches = [
  ...overEvery(
    "Connect",
    "connect",
    post(healthPath("Watch"), "application/connect+json", framed(Buffer.from("{}"))),
  ),
  ...overEvery("gRPC-Web", "grpc-web", post(healthPath("Watch"), "application/grpc-web", empty)),
  ...overEvery("gRPC", "grpc", post(healthPath("Watch"), "application/grpc", empty)),
];

describe.for([
  "on",
  "off",
])("the call of a caller that disconnects is CANCELLED and no error, with the fast path %s", (fastPath) => {
  let app: TestApp;
  /** Where Connect reports errors. */
  let complaints: MockInstance<typeof console.error>;

  beforeAll(async () => {
    app = await startTestApp({
      DATABASE_URL: job.env.DATABASE_URL,
      LOG_REQUESTS: "true",
      GRPC_FAST_PATH: fastPath,
    });
  });

  afterAll(() => app[Symbol.asyncDispose]());

  beforeEach(async () => {
    complaints = vi.spyOn(console, "error");
    // An answer between two calls that get none: after 1.5 s without any, on a slow machine, the breaker would open.
    const answers = () => app.logs.filter(({ reqId, code }) => reqId === job.reqId && code === "OK").length;
    const before = answers();
    expect((await fetch(`${app.url}/get_status/${job.reqId}`)).status).toBe(200);
    await expect.poll(answers, { interval: 5 }).toBe(before + 1);
  });

  afterEach(() => complaints.mockRestore());

  async function metrics(): Promise<string> {
    return await (await fetch(`${app.url}/metrics`)).text();
  }

  async function inFlight({ protocol }: RawCall, method: string): Promise<number | undefined> {
    const labels = { rpc_system_name: protocol, rpc_method: method };
    return metricValue(await metrics(), "rpc_server_calls_in_flight", labels);
  }

  async function countCancelled({ protocol }: RawCall, method: string): Promise<number> {
    if (method === watchMethod) {
      const held = { kind: "health", outcome: "cancelled" };
      return metricValue(await metrics(), "rpc_server_held_call_duration_seconds_count", held) ?? 0;
    }
    const name = "rpc_server_call_duration_seconds_count";
    const labels = { rpc_system_name: protocol, rpc_method: method };
    const lines = (await metrics())
      .split("\n")
      .filter((line) => line.startsWith(name))
      .join("\n");
    const others = lines
      .split("\n")
      .filter((line) =>
        Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`)),
      )
      // OK is for the calls of beforeEach.
      .filter((line) => !/"(?:CANCELLED|OK)"/.test(line));
    expect(others).toEqual([]);
    return metricValue(lines, name, { ...labels, rpc_status_code: "CANCELLED" }) ?? 0;
  }

  /** @param until settles when the call has got as far as the caller is to wait. */
  async function hangUp(
    call: RawCall,
    method: string,
    isHalf: boolean,
    until: (asking: ReturnType<typeof startAsking>) => Promise<unknown>,
  ) {
    const logged = app.logs.length;
    const before = await countCancelled(call, method);
    const asking = startAsking(call, app.url, isHalf);
    await until(asking);
    asking.hangUp();
    await asking.closed;
    const lines = () => app.logs.slice(logged).filter((line) => line.method === method);
    await expect.poll(lines, { interval: 5 }).toHaveLength(1);
    expect(lines()[0]).toMatchObject({
      level: "info",
      msg: "call",
      protocol: call.protocol,
      code: "CANCELLED",
    });
    expect(await countCancelled(call, method)).toBe(before + 1);
    expect(await inFlight(call, method)).toBe(0);
    expect(app.logs.filter(({ level }) => level === "error")).toEqual([]);
    expect(complaints).not.toHaveBeenCalled();
  }

  test.for(calls)("while its statement runs: $name", async (call) => {
    await using lock = await lockTable(job.database);
    await hangUp(call, getStatusMethod, false, () => lock.blocks(1));
    await lock.blocksCalls(0);
  });

  test.for(withBodies)("before the whole request was sent: $name", async (call) => {
    await hangUp(call, getStatusMethod, true, () =>
      expect.poll(() => inFlight(call, getStatusMethod), { interval: 5 }).toBe(1),
    );
  });

  test.for(watches)("in the middle of a stream: $name", async (call) => {
    await hangUp(call, watchMethod, false, ({ answered }) => answered);
  });

  test("with the reset in one piece with the request: gRPC, HTTP/2", async () => {
    const [call] = calls.filter(({ protocol }) => protocol === "grpc");
    if (call === undefined) throw new Error("no call");
    const logged = app.logs.length;
    const before = await countCancelled(call, getStatusMethod);
    using peer = await openPeer(app.port);
    // The streams are reset before their event is emitted.
    peer.send(Buffer.concat([preface, cancelledCall(1), cancelledCall(3)]));
    const lines = () => app.logs.slice(logged).filter((line) => line.method === getStatusMethod);
    await expect.poll(lines, { interval: 5 }).toHaveLength(2);
    expect(lines()).toEqual(
      lines().map(() => expect.objectContaining({ level: "info", protocol: "grpc", code: "CANCELLED" })),
    );
    expect(await countCancelled(call, getStatusMethod)).toBe(before + 2);
  });

  test("with responses that wait for the one before: HTTP/1.1, pipelined", async () => {
    const logged = app.logs.length;
    await using lock = await lockTable(job.database);
    using peer = await openPeer(app.port);
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    peer.send(get(`/get_status/${randomUUID()}`) + get("/healthz") + get("/made-up") + get(getStatusPath));
    await lock.blocks(1);
    peer.socket.resetAndDestroy();
    const lines = () =>
      app.logs.slice(logged).filter(({ msg, method }) => msg === "call" && method !== "/metrics");
    await expect.poll(lines, { interval: 5 }).toHaveLength(4);
    expect(
      lines()
        .map(({ protocol, method, code }) => `${protocol} ${method} ${code}`)
        .sort(),
    ).toEqual([
      `connect ${getStatusMethod} INVALID_ARGUMENT`,
      "rest /healthz OK",
      "rest _OTHER UNIMPLEMENTED",
      `rest ${getStatusMethod} CANCELLED`,
    ]);
    const busy = (await metrics())
      .split("\n")
      .filter((line) => /^rpc_server_calls_in_flight\{.*[1-9]$/.test(line));
    expect(busy).toEqual([expect.stringContaining('"/metrics"')]);
  });
});
