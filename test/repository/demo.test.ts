import { Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Demo, startDemo } from "../../demo/demo.ts";
import { type Config, readConfig } from "../../src/config/config.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";

const queued = "Memory Insertion Job has been queued for insertion!";
const duplicate = "Memory Insertion Job is already queued or processed successfully!";

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

function config(): Config {
  return readConfig({ DATABASE_URL: database.url, HOST: "127.0.0.1", PORT: "0" }, "serve");
}

function start(step: number): Promise<Demo> {
  return startDemo(config(), createLog("silent", { write() {} }), new AbortController().signal, step);
}

async function post({ port }: Demo, body: unknown): Promise<[number, { ReqId: string; Msg: string }]> {
  const response = await fetch(`http://127.0.0.1:${port}/add_memory`, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return [response.status, (await response.json()) as { ReqId: string; Msg: string }];
}

async function statusOf({ port }: Demo, reqId: string) {
  return (await fetch(`http://127.0.0.1:${port}/get_status/${reqId}`)).json();
}

function badRequest(message: string) {
  return [400, { Error: message, Message: message, Status: 400 }];
}

function say(...contents: string[]) {
  return { userId: "mario", messages: contents.map((content) => ({ role: "user", content })) };
}

describe("while jobs are pending", () => {
  let demo: Demo;

  beforeAll(async () => {
    demo = await start(3_600_000);
  });

  afterAll(() => demo[Symbol.asyncDispose]());

  test("a new job is queued under an id that its words and its user make, and a second one is a duplicate", async () => {
    // Python: uuid.uuid5(uuid.NAMESPACE_OID, "Wario is my brother" + "mario")
    const ReqId = "c6245366-d627-575f-a08f-9ef88c75e4e6";
    expect(await post(demo, say("Wario is", " my brother"))).toEqual([200, { ReqId, Msg: queued }]);
    expect(await post(demo, say("Wario is my brother"))).toEqual([200, { ReqId, Msg: duplicate }]);
    expect(await statusOf(demo, ReqId)).toMatchObject({ status: "pending" });
    expect(await post(demo, { ...say("Wario is my brother"), userId: "luigi" })).toMatchObject([
      200,
      { Msg: queued },
    ]);
  });

  test.for([
    "",
    "{",
    "null",
    "[]1",
    `{"messages":1}`,
    `{"messages":["hi"]}`,
    `{"userId":1,"messages":[]}`,
  ])("malformed: %s", async (body) => {
    expect(await post(demo, body)).toEqual(badRequest("Request format is wrong"));
  });

  test.for([
    "{}",
    `{"userId":"mario","messages":[]}`,
    `{"messages":null}`,
  ])("no messages: %s", async (body) => {
    expect(await post(demo, body)).toEqual(badRequest("No messages provided"));
  });

  test("everything else is the service's own answer", async () => {
    const answer = await fetch(`http://127.0.0.1:${demo.port}/get_status/nonsense`);
    expect([answer.status, answer.headers.get("error-reason")]).toEqual([400, "INVALID_REQ_ID"]);
    const other = await fetch(`http://127.0.0.1:${demo.port}/add_memory`);
    expect([other.status, await other.json()]).toMatchObject([404, { Error: "Not Found" }]);
  });
});

test("jobs run to success, and to failure when a message asks for it, after which they may be submitted again", async () => {
  await using demo = await start(1);
  const [, good] = await post(demo, say("my name is mario"));
  const [, bad] = await post(demo, say("please fail"));
  await expect.poll(() => statusOf(demo, good.ReqId)).toMatchObject({ status: "success" });
  await expect
    .poll(() => statusOf(demo, bad.ReqId))
    .toMatchObject({ status: "failure", error: "Vector database timeout during embedding generation" });
  expect(await post(demo, say("please fail"))).toEqual([200, { ReqId: bad.ReqId, Msg: queued }]);
  expect(await post(demo, say("my name is mario"))).toEqual([200, { ReqId: good.ReqId, Msg: duplicate }]);
});

test("a signal that comes when the service has started, but not yet the demo, stops it", async () => {
  const stopping = new AbortController();
  const original = Server.prototype.listen;
  const listen = vi.spyOn(Server.prototype, "listen").mockImplementation(function (this: Server, ...args) {
    // The service's own server is the first.
    if (listen.mock.calls.length === 2) stopping.abort(new Error("stopped by SIGTERM"));
    return original.apply(this, args as never);
  });
  const started = startDemo(config(), createLog("silent", { write() {} }), stopping.signal, 3_600_000);
  await expect(started.finally(() => listen.mockRestore())).rejects.toThrow("stopped by SIGTERM");
});

test("jobs that are under way come to their end when the demo stops", async () => {
  const demo = await start(3_600_000);
  const [, { ReqId }] = await post(demo, say("no time left"));
  await demo[Symbol.asyncDispose]();
  const { rows } = await database.pool.query("select status from memory_job where req_id = $1", [ReqId]);
  expect(rows).toEqual([{ status: "success" }]);
});
