import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  connectGet,
  getStatusCalls,
  getStatusPath,
  healthPath,
  overEvery,
  post,
  reflectionPath,
  send,
  withHeaders,
} from "../support/calls.ts";
import { useKnownJob } from "../support/known-job.ts";
import { bearing } from "../support/tokens.ts";

const job = useKnownJob();
let app: TestApp;

beforeAll(async () => {
  app = await startTestApp(job.env);
});

afterAll(() => app[Symbol.asyncDispose]());

const missing = randomUUID();
const json = Buffer.from("{}");
const get = (path: string) => ({ method: "GET", path });
const head = (path: string) => ({ method: "HEAD", path });

/** What answers with which status of HTTP. A cache may keep most of them without explicit freshness (RFC 9110, 15.1). */
const requests = [
  { status: 200, name: "/healthz", asked: get("/healthz") },
  { status: 200, name: "/readyz", asked: get("/readyz") },
  { status: 200, name: "/metrics", asked: get("/metrics") },
  { status: 200, name: "/metrics, HEAD", asked: head("/metrics") },
  { status: 401, name: "/metrics, refused", asked: get("/metrics"), bearing: {} },
  { status: 404, name: "a path that is unknown", asked: get("/nowhere") },
  { status: 404, name: "a path that is unknown, HEAD", asked: head("/nowhere") },
  { status: 404, name: "a method that is unknown, Connect GET", asked: connectGet(`${getStatusPath}es`, {}) },
  {
    status: 404,
    name: "a method that is unknown, POST",
    asked: post(`${getStatusPath}es`, "application/json", json),
  },
  { status: 405, name: "/readyz, POST", asked: post("/readyz", "application/json", json) },
  { status: 405, name: "REST, POST", asked: post(`/get_status/${missing}`, "application/json", json) },
  { status: 405, name: "an RPC, HEAD", asked: head(getStatusPath) },
  { status: 405, name: "an RPC, PUT", asked: { method: "PUT", path: getStatusPath } },
  {
    status: 405,
    name: "an RPC that is gRPC's, GET",
    asked: { ...get(healthPath("Check")), headers: { "Content-Type": "application/grpc" } },
  },
  { status: 405, name: "health's Watch, GET", asked: connectGet(healthPath("Watch"), {}) },
  { status: 415, name: "an RPC, GET without a message", asked: get(getStatusPath) },
  { status: 415, name: "a content type that is unknown", asked: post(getStatusPath, "text/plain", json) },
  { status: 400, name: "Connect GET, malformed", asked: connectGet(getStatusPath, { reqId: "nope" }) },
  { status: 400, name: "Connect GET, no JSON", asked: get(`${getStatusPath}?encoding=json&message=%7B`) },
  {
    status: 400,
    name: "Connect GET, no base64",
    asked: get(`${getStatusPath}?encoding=proto&base64=1&message=%3F`),
  },
  {
    status: 401,
    name: "Connect GET, refused",
    asked: connectGet(getStatusPath, { reqId: missing }),
    bearing: {},
  },
  { status: 404, name: "Connect GET, not found", asked: connectGet(getStatusPath, { reqId: missing }) },
  {
    status: 501,
    name: "Connect GET, in an encoding that is unknown",
    asked: get(`${getStatusPath}?encoding=json&compression=br&message=%7B%7D`),
  },
  { status: 200, name: "health, POST", asked: post(healthPath("Check"), "application/json", json) },
  {
    status: 404,
    name: "health of a service that is unknown",
    asked: post(healthPath("Check"), "application/json", Buffer.from(`{"service":"x"}`)),
  },
  { status: 500, name: "REST, not found", asked: get(`/get_status/${missing}`) },
  { status: 400, name: "REST, malformed", asked: get("/get_status/nope") },
  { status: 401, name: "REST, refused", asked: get(`/get_status/${missing}`), bearing: {} },
];

const table = requests.flatMap(({ status, name, asked, bearing: headers = bearing }) =>
  overEvery(name, "connect", asked).map((call) => ({
    status,
    call: withHeaders(call, headers),
    name: call.name,
  })),
);

test.for(table)("no cache may keep an answer: $status, $name", async ({ status, call }) => {
  const told = await send(call, app.url);
  expect([told.status, told.headers["cache-control"]]).toEqual([status, "no-store"]);
});

test("no cache may keep an answer: 505, reflection over HTTP/1.1", async () => {
  const [call] = overEvery("reflection", "connect", post(reflectionPath, "application/connect+json", json));
  if (call === undefined) throw new Error("no call");
  const told = await send(withHeaders(call, bearing), app.url);
  expect([told.status, told.headers["cache-control"]]).toEqual([505, "no-store"]);
});

test.for(getStatusCalls(""))("no cache may keep a status that was found: $name", async (row) => {
  const [call] = getStatusCalls(job.reqId).filter(({ name }) => name === row.name);
  if (call === undefined) throw new Error("no call");
  const told = await send(withHeaders(call, bearing), app.url);
  // No answer of gRPC: the answer to a POST is kept only with explicit freshness (RFC 9110, section 9.3.3).
  expect([told.status, told.headers["cache-control"]]).toEqual([
    200,
    row.protocol === "grpc" ? undefined : "no-store",
  ]);
});
