import { randomUUID } from "node:crypto";
import { connect as connectTcp } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  connectGet,
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
import { metricValue } from "../support/metric.ts";
import { bearing } from "../support/tokens.ts";

const page = "https://app.example.com";
const lookalike = "https://app.example.com.evil.example";

const job = useKnownJob();

const start = (env: Readonly<Record<string, string>>) => startTestApp({ ...job.env, ...env });

/** @returns the response headers that a browser evaluates for CORS. */
function accessOf(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => name.startsWith("access-control-") || name === "vary"),
  );
}

const askToPost = { Origin: page, "Access-Control-Request-Method": "POST" };
const options = (path: string, headers: Readonly<Record<string, string>>) => ({
  method: "OPTIONS",
  path,
  headers,
});
const paths = [
  `/get_status/${randomUUID()}`,
  getStatusPath,
  "/get_status:batch",
  healthPath("Check"),
  reflectionPath,
  "/healthz",
  "/nowhere",
];
const preflights = (headers: Readonly<Record<string, string>>) =>
  paths.flatMap((path) => overEvery(path, "rest", options(path, headers)));

describe("without CORS_ORIGINS, pages on other origins get no access", () => {
  test.for(preflights(askToPost))("$name", async (call) => {
    await using app = await startTestApp({ DATABASE_URL: job.env.DATABASE_URL });
    const { status, headers } = await send(call, app.url);
    expect([status, accessOf(headers)]).toEqual([call.asked.path === "/nowhere" ? 404 : 405, {}]);
  });
});

describe.for([
  { origins: `${page},http://localhost:3000`, allowed: page },
  { origins: "*", allowed: "*" },
])("with CORS_ORIGINS=$origins", ({ origins, allowed }) => {
  let app: TestApp;

  beforeAll(async () => {
    app = await start({ CORS_ORIGINS: origins });
  });

  afterAll(() => app[Symbol.asyncDispose]());

  test.for(preflights(askToPost))("a preflight is answered without a token: $name", async (call) => {
    const { status, headers, body } = await send(call, app.url);
    expect([status, body.length]).toEqual([204, 0]);
    // RFC 9110, section 8.6.
    expect(headers["content-length"]).toBeUndefined();
    expect(accessOf(headers)).toEqual({
      "access-control-allow-origin": allowed,
      "access-control-allow-methods": "GET, HEAD, POST",
      "access-control-allow-headers": expect.any(String),
      "access-control-max-age": "7200",
      vary: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    });
    const names = headers["access-control-allow-headers"]?.toLowerCase().split(", ");
    expect(names).toEqual(
      expect.arrayContaining([
        ...[
          "authorization",
          "content-type",
          "x-request-id",
          "connect-protocol-version",
          "connect-timeout-ms",
        ],
        ...["x-grpc-web", "x-user-agent", "grpc-timeout", "content-encoding"],
        ...["prefer", "last-event-id"],
      ]),
    );
  });

  const json = Buffer.from("{}");
  const answers: { status: number; name: string; calls: RawCall[]; more?: Record<string, string> }[] = [
    {
      status: 500,
      name: "not found",
      calls: overEvery("REST", "rest", { method: "GET", path: paths[0] ?? "" }),
    },
    {
      status: 400,
      name: "malformed",
      calls: overEvery("REST", "rest", { method: "GET", path: "/get_status/x" }),
    },
    {
      status: 401,
      name: "refused",
      calls: [
        ...getStatusCalls(randomUUID()).filter(
          ({ protocol }) => protocol === "rest" || protocol === "connect",
        ),
        ...overEvery("/nowhere", "rest", { method: "GET", path: "/nowhere" }),
      ],
      more: { Authorization: "Bearer of-mallory" },
    },
    {
      status: 200,
      name: "refused",
      calls: getStatusCalls(randomUUID()).filter(({ protocol }) => protocol === "grpc-web"),
      more: { Authorization: "Bearer of-mallory" },
    },
    {
      status: 404,
      name: "no such path",
      calls: overEvery("GET", "rest", { method: "GET", path: "/nowhere" }),
    },
    {
      status: 404,
      name: "no such RPC",
      calls: overEvery("Connect", "connect", post(`${getStatusPath}es`, "application/json", json)),
    },
    {
      status: 404,
      name: "not found",
      calls: overEvery("Connect", "connect", connectGet(getStatusPath, { reqId: randomUUID() })),
    },
    {
      status: 405,
      name: "another method",
      calls: overEvery("PUT", "rest", { method: "PUT", path: paths[0] ?? "" }),
    },
    {
      status: 405,
      name: "OPTIONS that is no preflight",
      calls: overEvery("OPTIONS", "rest", options("/healthz", {})),
    },
    {
      status: 415,
      name: "gRPC-Web as text, which is not served",
      calls: overEvery(
        "gRPC-Web",
        "grpc-web",
        post(getStatusPath, "application/grpc-web-text", Buffer.from("AAAAAAA=")),
      ),
    },
    {
      status: 431,
      name: "headers that are too large",
      calls: overEvery("REST", "rest", { method: "GET", path: "/healthz" }),
      more: { "X-Large": "x".repeat(20_000) },
    },
  ];

  test.for(
    answers.flatMap(({ status, name, calls, more }) => calls.map((call) => ({ status, name, call, more }))),
  )("$status, $name, can be read: $call.name", async ({ status, call, more }) => {
    const answer = await send(withHeaders(call, { ...bearing, Origin: page, ...more }), app.url);
    expect(answer.status).toBe(status);
    const { "access-control-expose-headers": exposed, ...access } = accessOf(answer.headers);
    expect(access).toEqual({ "access-control-allow-origin": allowed, vary: "Origin" });
    // The response to what Node cannot parse has no header that a page would read.
    if (status === 431 && call.version === "1.1") return;
    expect(exposed?.toLowerCase().split(", ")).toEqual(
      expect.arrayContaining([
        ...["grpc-status", "grpc-message", "grpc-status-details-bin"],
        ...["error-reason", "error-limit", "retry-after", "x-request-id", "preference-applied"],
      ]),
    );
  });

  test("a status can be read, over every protocol that browsers speak", async () => {
    for (const call of getStatusCalls(job.reqId).filter(({ protocol }) => protocol !== "grpc")) {
      const answer = await send(withHeaders(call, { ...bearing, Origin: page }), app.url);
      expect([answer.status, answer.headers["access-control-allow-origin"]], call.name).toEqual([
        200,
        allowed,
      ]);
    }
  });

  test("a page may read the response to a malformed request", async () => {
    const socket = connectTcp(app.port, "127.0.0.1");
    socket.write(`GET /healthz HTTP/1.1\r\nHost: x\r\nOrigin: ${page}\r\nnot a header\r\n\r\n`);
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer).toContain(`\r\nAccess-Control-Allow-Origin: ${allowed}\r\n`);
  });

  test.for([
    { name: "a preflight", method: "OPTIONS", status: 401 },
    { name: "GET", method: "GET", status: 200 },
  ])("no page may read /metrics: $name", async ({ method, status }) => {
    for (const [call] of [overEvery("metrics", "rest", { method, path: "/metrics" })]) {
      if (call === undefined) throw new Error("no call");
      const headers = method === "OPTIONS" ? askToPost : { ...bearing, Origin: page };
      const answer = await send(withHeaders(call, headers), app.url);
      expect([answer.status, accessOf(answer.headers)]).toEqual([status, {}]);
    }
  });

  test("preflights are counted under a method of their own", async () => {
    const count = async () => {
      const response = await fetch(`${app.url}/metrics`, { headers: bearing });
      const labels = { rpc_method: "OPTIONS", rpc_status_code: "OK" };
      return metricValue(await response.text(), "rpc_server_call_duration_seconds_count", labels) ?? 0;
    };
    const before = await count();
    for (const call of preflights(askToPost)) await send(call, app.url);
    expect(await count()).toBe(before + preflights(askToPost).length);
  });
});

describe("a page on an origin that is not listed", () => {
  test.for([
    lookalike,
    "null",
    "https://app.example.com:8443",
    "http://app.example.com",
    "https://APP.example.com",
  ])("%s gets no access, and no cache takes its response for another origin's", async (origin) => {
    await using app = await start({ CORS_ORIGINS: page });
    for (const call of preflights({ ...askToPost, Origin: origin })) {
      const { status, headers } = await send(call, app.url);
      expect([status, accessOf(headers)], call.name).toEqual([
        204,
        { vary: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" },
      ]);
    }
    for (const call of getStatusCalls(job.reqId).filter(({ protocol }) => protocol === "rest")) {
      for (const credentials of [bearing, {}]) {
        const { headers } = await send(withHeaders(call, { ...credentials, Origin: origin }), app.url);
        expect(accessOf(headers)).toEqual({ vary: "Origin" });
      }
    }
  });
});
