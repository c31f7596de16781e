import { create, toBinary } from "@bufbuild/protobuf";
import { sql } from "kysely";
import { expect, test } from "vitest";
import { WatchStatusRequestSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { ServerReflectionRequestSchema } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import {
  endOf,
  framed,
  getStatusPath,
  healthPath,
  overEvery,
  post,
  type RawCall,
  reflectionPath,
  send,
  withHeaders,
} from "../support/calls.ts";
import { startAsking } from "../support/hang-up.ts";
import { useKnownJob } from "../support/known-job.ts";
import { insertJob } from "../support/rows.ts";
import { bearing as ofAlice, tokenLine } from "../support/tokens.ts";

const ofBob = { Authorization: "Bearer of-bob" };
const job = useKnownJob();

const watchMethod = "gomemory.status.v1.StatusService/WatchStatus";

function watchesOf(reqId: string): RawCall[] {
  const path = `/${watchMethod}`;
  const request = create(WatchStatusRequestSchema, { reqIds: [reqId] });
  const message = framed(toBinary(WatchStatusRequestSchema, request));
  const json = framed(Buffer.from(JSON.stringify({ reqIds: [reqId] })));
  return [
    ...overEvery("Connect", "connect", post(path, "application/connect+json", json)),
    ...overEvery("gRPC-Web", "grpc-web", post(path, "application/grpc-web", message)),
    ...overEvery("gRPC", "grpc", post(path, "application/grpc", message)),
    ...overEvery("gRPC, in JSON", "grpc", post(path, "application/grpc+json", json)),
  ];
}

const waitsFor = (reqId: string): RawCall[] =>
  overEvery(
    "Connect",
    "connect",
    post(getStatusPath, "application/json", Buffer.from(JSON.stringify({ reqId, wait: "30s" }))),
  );

const eventsOf = (reqId: string): RawCall[] =>
  overEvery("events", "rest", {
    method: "GET",
    path: `/get_status/${reqId}`,
    headers: { Accept: "text/event-stream" },
  });

const healthWatches = overEvery(
  "gRPC",
  "grpc",
  post(healthPath("Watch"), "application/grpc", framed(new Uint8Array())),
);

/** A whole message, and a byte of the next one, which is held back: the stream of requests stays open. */
const reflections = overEvery(
  "gRPC",
  "grpc",
  post(
    reflectionPath,
    "application/grpc",
    Buffer.concat([
      framed(
        toBinary(
          ServerReflectionRequestSchema,
          create(ServerReflectionRequestSchema, { messageRequest: { case: "listServices", value: "" } }),
        ),
      ),
      Buffer.alloc(1),
    ]),
    { "Content-Length": undefined },
  ),
);

/** @returns how many calls of each kind are held, as the metrics have it. */
async function heldCalls({ url }: TestApp, headers = ofBob): Promise<Record<string, number>> {
  const text = await (await fetch(`${url}/metrics`, { headers })).text();
  const lines = text.matchAll(/^rpc_server_held_calls\{kind="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries(Array.from(lines, ([, kind, count]) => [kind, Number(count)]));
}

test.for([
  "on",
  "off",
])("the streams of a token that is removed end with UNAUTHENTICATED, and no other calls, with the fast path %s", async (fastPath) => {
  const aliceAndBob = tokenLine("alice", "of-alice") + tokenLine("bob", "of-bob");
  const file = await job.folder.write(`tokens-${fastPath}`, aliceAndBob);
  const { DATABASE_URL } = job.env;
  await using app = await startTestApp({
    DATABASE_URL,
    AUTH_TOKENS_FILE: file,
    GRPC_FAST_PATH: fastPath,
    LOG_REQUESTS: "true",
  });
  const reqId = await insertJob(job.database.db);
  const by = (headers: Readonly<Record<string, string>>, calls: readonly RawCall[]) =>
    calls.map((call) => withHeaders(call, headers));

  const ending = by(ofAlice, watchesOf(reqId)).map((call) => endOf(call, app.url));
  const streaming = by(ofAlice, eventsOf(reqId)).map((call) => send(call, app.url));
  const reflecting = by(ofAlice, reflections).map((call) => startAsking(call, app.url, true));
  const kept = [...by(ofBob, watchesOf(reqId)), ...by(ofAlice, waitsFor(reqId))].map((call) =>
    send(call, app.url),
  );
  const health = by(ofAlice, healthWatches).map((call) => startAsking(call, app.url));
  const before = { wait: 2, watch: 12, events: 2, health: 1, reflection: 1 };
  await expect.poll(() => heldCalls(app), { interval: 5 }).toEqual(before);

  await job.folder.write(`tokens-${fastPath}`, tokenLine("bob", "of-bob"));
  for (const end of await Promise.all(ending)) {
    expect(end).toMatch(/"code":"unauthenticated"|grpc-status(": ?"|: ?)16/i);
    expect(end).toContain("UNAUTHENTICATED");
  }
  for (const told of await Promise.all(streaming)) {
    expect(told.body.toString()).toMatch(/^event: status$/m);
    expect(told.body.toString()).not.toMatch(/^event: end$/m);
  }
  await expect
    .poll(() => heldCalls(app), { interval: 5 })
    .toEqual({ ...before, watch: 6, events: 0, reflection: 0 });
  const ended = () => app.logs.filter(({ msg, caller }) => msg === "call" && caller === "alice");
  const codes = Array.from({ length: 9 }, () => "UNAUTHENTICATED");
  await expect.poll(() => ended().map(({ code }) => code), { interval: 5 }).toEqual(codes);

  await sql`update memory_job set status = 'success' where req_id = ${reqId}`.execute(job.database.db);
  for (const told of await Promise.all(kept)) expect(told.status).toBe(200);
  for (const { hangUp } of [...reflecting, ...health]) hangUp();
  await expect
    .poll(() => heldCalls(app), { interval: 5 })
    .toEqual({ wait: 0, watch: 0, events: 0, health: 0, reflection: 0 });
  const ofBobsWatches = () =>
    app.logs.filter(({ method, caller }) => method === watchMethod && caller === "bob");
  await expect
    .poll(() => ofBobsWatches().map(({ code }) => code), { interval: 5 })
    .toEqual(Array.from({ length: 6 }, () => "OK"));
});

test("a token whose name has changed counts as removed, and is accepted again under the new name", async () => {
  const AUTH_TOKENS_FILE = await job.folder.write("renamed", tokenLine("alice", "of-alice"));
  await using app = await startTestApp({ ...job.env, AUTH_TOKENS_FILE });
  const [watch] = watchesOf(job.reqId).map((call) => withHeaders(call, ofAlice)) as [RawCall];
  const end = endOf(watch, app.url);
  await expect.poll(() => heldCalls(app, ofAlice), { interval: 5 }).toMatchObject({ watch: 1 });
  await job.folder.write("renamed", tokenLine("alicia", "of-alice"));
  expect(await end).toContain("UNAUTHENTICATED");
  const again = startAsking(watch, app.url);
  await again.answered;
  expect(await heldCalls(app, ofAlice)).toMatchObject({ watch: 1 });
  again.hangUp();
  await again.closed;
});
