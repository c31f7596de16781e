import { execFile } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { insertJob } from "../support/rows.ts";
import { installGo } from "./tools.ts";
import { move, untilWatched } from "./waiting.ts";

const grpcurl = await installGo("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl", "v1.9.4");

const getStatus = "gomemory.status.v1.StatusService/GetStatus";
const watchStatus = "gomemory.status.v1.StatusService/WatchStatus";
const batchGetStatus = "gomemory.status.v1.StatusService/BatchGetStatus";
const protoPaths = ["-import-path", "proto", "-import-path", "node_modules/google-gax/build/protos"];
const withProto = [...protoPaths, "-proto", "gomemory/status/v1/status.proto"];

/** The exit code of grpcurl for a gRPC status: 64 more than its number. */
const exitCode = {
  invalidArgument: 64 + 3,
  deadlineExceeded: 64 + 4,
  notFound: 64 + 5,
  unimplemented: 64 + 12,
};

describe.skipIf(grpcurl.skipped)(grpcurl.title, () => {
  let database: TestDatabase;
  let app: TestApp;
  /** The commands and their output, in the order of the tests. */
  const transcript: string[] = [];

  beforeAll(async () => {
    database = await createDatabase();
    app = await startTestApp({ DATABASE_URL: database.url });
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  /** Runs grpcurl against the service. @returns its exit code. */
  function run(options: readonly string[], ...words: string[]): Promise<number> {
    const args = ["-plaintext", ...options, `127.0.0.1:${app.port}`, ...words];
    return new Promise((resolve) => {
      const child = execFile(grpcurl.path, args, (_, stdout, stderr) => {
        const command = ["grpcurl", ...args.map((arg) => (/[^\w./:-]/.test(arg) ? `'${arg}'` : arg))].join(
          " ",
        );
        transcript.push(masked(`$ ${command}\n${stdout}${stderr}exit code ${child.exitCode}\n`));
        resolve(child.exitCode ?? -1);
      });
    });
  }

  function call(reqId: string, ...options: string[]): Promise<number> {
    return run([...options, "-d", JSON.stringify({ req_id: reqId })], getStatus);
  }

  test("list", async () => expect(await run([], "list")).toBe(0));

  test("list of a service's methods", async () => {
    expect(await run([], "list", "gomemory.status.v1.StatusService")).toBe(0);
  });

  test.for([
    "gomemory.status.v1.StatusService",
    "gomemory.status.v1.GetStatusRequest",
    "gomemory.status.v1.GetStatusResponse",
    "gomemory.status.v1.GetStatusResponse.Status",
    "gomemory.status.v1.WatchStatusRequest",
    "gomemory.status.v1.WatchStatusResponse",
    "gomemory.status.v1.StatusEvent",
    "gomemory.status.v1.GoneEvent",
    "gomemory.status.v1.Heartbeat",
    "gomemory.status.v1.BatchGetStatusRequest",
    "gomemory.status.v1.BatchGetStatusResponse",
    "gomemory.status.v1.Item",
    "gomemory.status.v1.ItemError",
  ])("describe %s", async (name) => expect(await run([], "describe", name)).toBe(0));

  test("a call by reflection", async () => {
    expect(await call(await insertJob(database.db, { status: "success" }))).toBe(0);
  });

  test("a failed job", async () => {
    const error = "Vector database timeout during embedding generation";
    expect(await call(await insertJob(database.db, { status: "failure", error }))).toBe(0);
  });

  test("a call with -proto", async () => {
    expect(await call(await insertJob(database.db), ...withProto)).toBe(0);
  });

  test("health: the server, the service, and an unknown service", async () => {
    const check = "grpc.health.v1.Health/Check";
    expect(await run([], check)).toBe(0);
    expect(await run(["-d", `{"service":"gomemory.status.v1.StatusService"}`], check)).toBe(0);
    expect(await run(["-d", `{"service":"nobody"}`], check)).toBe(exitCode.notFound);
  });

  test("bad input: a malformed id, no id, a field that does not exist, and malformed JSON", async () => {
    expect(await call("not-a-uuid")).toBe(exitCode.invalidArgument);
    expect(await run([], getStatus)).toBe(exitCode.invalidArgument);
    expect(await run(["-d", `{"id":"x"}`], getStatus)).toBe(1);
    expect(await run(["-d", "{"], getStatus)).toBe(1);
  });

  test("a method that does not exist", async () => {
    expect(await run([], "gomemory.status.v1.StatusService/Nothing")).toBe(1);
  });

  test("an unknown id", async () => expect(await call(crypto.randomUUID())).toBe(exitCode.notFound));

  test("an expired id", async () => {
    const reqId = await insertJob(database.db, { status: "success", age: 24 * 3600 + 1 });
    expect(await call(reqId)).toBe(exitCode.notFound);
  });

  test("-max-time: the deadline passes while the database is blocked", async () => {
    const reqId = await insertJob(database.db);
    await using _lock = await lockTable(database);
    expect(await call(reqId, ...withProto, "-max-time", "0.3")).toBe(exitCode.deadlineExceeded);
  });

  test("a wait: the answer comes when the job is done", async () => {
    const reqId = await insertJob(database.db);
    const exit = run(["-d", JSON.stringify({ req_id: reqId, wait: "30s" })], getStatus);
    await untilWatched(app.url, 1);
    await move(database, reqId, "success");
    expect(await exit).toBe(0);
  });

  test("a wait that is over, and a negative one", async () => {
    const reqId = await insertJob(database.db);
    expect(await run(["-d", JSON.stringify({ req_id: reqId, wait: "0.3s" })], getStatus)).toBe(0);
    const negative = run(["-d", JSON.stringify({ req_id: reqId, wait: "-1s" })], getStatus);
    expect(await negative).toBe(exitCode.invalidArgument);
  });

  test("a watch: the current state, its change, and the end", async () => {
    const reqId = await insertJob(database.db);
    const exit = run(["-d", JSON.stringify({ req_ids: [reqId] })], watchStatus);
    await untilWatched(app.url, 1);
    await move(database, reqId, "failure", "it broke");
    expect(await exit).toBe(0);
  });

  test("a watch of an unknown id, and of a malformed one", async () => {
    expect(await run(["-d", JSON.stringify({ req_ids: [crypto.randomUUID()] })], watchStatus)).toBe(0);
    const reqIds = [crypto.randomUUID(), "not-a-uuid"];
    const malformed = run(["-d", JSON.stringify({ req_ids: reqIds })], watchStatus);
    expect(await malformed).toBe(exitCode.invalidArgument);
  });

  test("a batch, and one of no ids", async () => {
    const reqIds = [await insertJob(database.db), crypto.randomUUID()];
    expect(await run(["-d", JSON.stringify({ req_ids: reqIds })], batchGetStatus)).toBe(0);
    expect(await run([], batchGetStatus)).toBe(exitCode.invalidArgument);
  });

  test("the output of all commands matches the golden file", async () => {
    await expect(transcript.join("\n")).toMatchFileSnapshot("grpcurl.golden.txt");
  });
});

/** Replaces the parts that differ from run to run. */
function masked(text: string): string {
  return (
    text
      .replaceAll(/127\.0\.0\.1:\d+/g, "localhost:9000")
      .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<reqid>")
      .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, "<time>")
      // The message is grpcurl's own or the service's, depending on which one ends the call first.
      .replace(/(Code: DeadlineExceeded\n).*(?=exit code)/s, "$1")
  );
}
