import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  connectGet,
  framed,
  getStatusCalls,
  getStatusPath,
  healthPath,
  overEvery,
  post,
  type RawCall,
  reflectionPath,
  send,
  withHeaders,
} from "../support/calls.ts";
import { useKnownJob } from "../support/known-job.ts";
import { startProxy } from "../support/proxy.ts";
import type { Told } from "../support/raw-http.ts";
import { bearing } from "../support/tokens.ts";

const uuid = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

const job = useKnownJob();

/** Wherever the protocol puts it: headers, trailers, or what gRPC-Web and Connect's streams write as their last message. */
function requestIdOf({ headers, body }: Told): string | undefined {
  const inBody = /x-request-id(?:: *|":\[")([\x21-\x7e]+?)(?:\r\n|"\])/.exec(body.toString("latin1"));
  return headers["x-request-id"] ?? inBody?.[1];
}

const empty = framed(new Uint8Array());
const get = (path: string) => ({ method: "GET", path });

/** Everything that there is to ask, but for statuses. */
const others: RawCall[] = [
  ...overEvery("gRPC health", "grpc", post(healthPath("Check"), "application/grpc", empty)),
  ...overEvery("gRPC health's list", "grpc", post(healthPath("List"), "application/grpc", empty)),
  ...overEvery(
    "health over Connect",
    "connect",
    post(healthPath("Check"), "application/json", Buffer.from("{}")),
  ),
  ...overEvery(
    "reflection",
    "grpc",
    post(reflectionPath, "application/grpc", framed(Buffer.from("\x3a\x00"))),
  ),
  ...overEvery(
    "reflection, malformed",
    "grpc",
    post(reflectionPath, "application/grpc", Buffer.from("\x02")),
  ),
  ...overEvery("/healthz", "rest", get("/healthz")),
  ...overEvery("/readyz", "rest", get("/readyz")),
  ...overEvery("/metrics", "rest", get("/metrics")),
  ...overEvery("404", "rest", get("/nowhere")),
  ...overEvery(
    "405, REST",
    "rest",
    post(`/get_status/${randomUUID()}`, "application/json", Buffer.from("{}")),
  ),
  ...overEvery("405, Connect", "connect", connectGet(healthPath("Watch"), {})),
  ...overEvery("415", "connect", post(getStatusPath, "text/plain", Buffer.from("{}"))),
  ...overEvery("an unknown method, gRPC", "grpc", post(`${getStatusPath}es`, "application/grpc", empty)),
  ...overEvery(
    "an unknown method, Connect",
    "connect",
    post(`${getStatusPath}es`, "application/json", Buffer.from("{}")),
  ),
  ...overEvery("malformed, gRPC", "grpc", post(getStatusPath, "application/grpc", Buffer.from("\x02"))),
  ...overEvery(
    "malformed, gRPC-Web",
    "grpc-web",
    post(getStatusPath, "application/grpc-web", Buffer.from("\x02")),
  ),
  ...overEvery("malformed, Connect", "connect", post(getStatusPath, "application/json", Buffer.from("{"))),
];

/** Every outcome of a call, by what the names of the tests say. `found` stands for an id that is known. */
function callsOf(found: string): RawCall[] {
  const outcomes = { found, "not found": randomUUID(), malformed: "nope" };
  const statuses = Object.entries(outcomes).flatMap(([outcome, reqId]) =>
    getStatusCalls(reqId).map((call) => ({ ...call, name: `${outcome}: ${call.name}` })),
  );
  const admitted = [...statuses, ...others].map((call) => withHeaders(call, bearing));
  const refused = getStatusCalls(found).map((call) => ({ ...call, name: `refused: ${call.name}` }));
  return [...admitted, ...refused];
}

describe.for(["on", "off"])("with the fast path %s", (fastPath) => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startTestApp({ ...job.env, GRPC_FAST_PATH: fastPath });
  });

  afterAll(() => app[Symbol.asyncDispose]());

  const names = callsOf("").map(({ name }) => ({ name }));

  async function ask(name: string, headers: Readonly<Record<string, string>>): Promise<string | undefined> {
    const call = callsOf(job.reqId).find((one) => one.name === name);
    if (call === undefined) throw new Error(`no call ${name}`);
    return requestIdOf(await send(withHeaders(call, headers), app.url));
  }

  test.for(names)("an X-Request-Id is returned as it was sent: $name", async ({ name }) => {
    for (const sent of ["order/7:first", "!", '"<~#\\'.padEnd(128, "x")]) {
      expect(await ask(name, { "X-Request-Id": sent })).toBe(sent);
    }
  });

  test.for(names)("an X-Request-Id that cannot be used is replaced: $name", async ({ name }) => {
    for (const sent of ["", "two words", "ümlaut", "x".repeat(129)]) {
      expect(await ask(name, { "X-Request-Id": sent })).toMatch(uuid);
    }
  });

  test.for(names)("a request without X-Request-Id gets none, unless the service fails: $name", async ({
    name,
  }) => {
    expect(await ask(name, {})).toBeUndefined();
  });

  test("these calls are not logged as errors", () => {
    expect(app.logs.filter(({ level }) => level === "error")).toEqual([]);
  });

  test("a failure of the service has an id over every protocol, and its line in the log has the same", async () => {
    await using proxy = await startProxy(job.database.url);
    await using failing = await startTestApp({
      DATABASE_URL: proxy.url,
      AUTH_TOKENS_FILE: job.env.AUTH_TOKENS_FILE,
      GRPC_FAST_PATH: fastPath,
      // Without it, the log has no more than ten faults a second.
      LOG_REQUESTS: "true",
    });
    proxy.cut();
    for (const call of getStatusCalls(job.reqId)) {
      for (const sent of [undefined, "poller-7"]) {
        const before = failing.logs.length;
        const headers = sent === undefined ? bearing : { ...bearing, "X-Request-Id": sent };
        const told = requestIdOf(await send(withHeaders(call, headers), failing.url));
        expect(told, call.name).toEqual(sent ?? expect.stringMatching(uuid));
        const lines = failing.logs.slice(before).filter(({ msg }) => msg === "call failed");
        expect(lines).toEqual([
          expect.objectContaining({
            protocol: call.protocol,
            code: "UNAVAILABLE",
            reqId: job.reqId,
            requestId: told,
            caller: "alice",
            peer: "127.0.0.1",
          }),
        ]);
      }
    }
  });
});
