import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  framed,
  getStatusCalls,
  getStatusPath,
  healthPath,
  overEvery,
  post,
  type RawCall,
  send,
} from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { insertJob } from "../support/rows.ts";

let database: TestDatabase;
let known: string;
const apps = {} as Record<"on" | "off", TestApp>;

beforeAll(async () => {
  database = await createDatabase();
  known = await insertJob(database.db);
  for (const fastPath of ["on", "off"] as const)
    apps[fastPath] = await startTestApp({ DATABASE_URL: database.url, GRPC_FAST_PATH: fastPath });
});

afterAll(async () => {
  for (const app of Object.values(apps)) await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const empty = framed(new Uint8Array());
const everyCall = (reqId: string): RawCall[] => [
  ...getStatusCalls(reqId),
  ...getStatusCalls("nope").map((call) => ({ ...call, name: `malformed id: ${call.name}` })),
  ...getStatusCalls(randomUUID()).map((call) => ({ ...call, name: `unknown id: ${call.name}` })),
  ...overEvery("gRPC health", "grpc", post(healthPath("Check"), "application/grpc", empty)),
  ...overEvery("/healthz", "rest", { method: "GET", path: "/healthz" }),
  ...overEvery("404", "rest", { method: "GET", path: "/nowhere" }),
  ...overEvery("404", "grpc", post("/no.Such/Method", "application/grpc", empty)),
  ...overEvery("405", "connect", { method: "PUT", path: getStatusPath }),
  ...overEvery("415", "connect", post(getStatusPath, "text/plain", Buffer.from("{}"))),
];

/** Milliseconds by which an answer's date may differ from the clock: it has whole seconds, and a timer may be late. */
const tolerance = 5_000;

describe.for(["on", "off"] as const)("every answer has the date, with the fast path %s", (fastPath) => {
  test.for(
    everyCall("").map(({ name, protocol }, index) => ({ name, protocol, index })),
  )("$name, $protocol", async ({ index }) => {
    const { headers } = await send(everyCall(known)[index] as RawCall, apps[fastPath].url);
    expect(Math.abs(Date.parse(headers.date ?? "") - Date.now())).toBeLessThan(tolerance);
  });
});

test("the date of the fast path goes on", async () => {
  const dateOf = async () => {
    const [call] = overEvery("", "grpc", post(healthPath("Check"), "application/grpc", empty));
    return (await send(call as RawCall, apps.on.url)).headers.date;
  };
  const first = await dateOf();
  await expect.poll(dateOf, { interval: 50, timeout: 10_000 }).not.toBe(first);
});
