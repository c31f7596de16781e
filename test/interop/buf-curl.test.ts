import { execFile, spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { bufProgram, root } from "./tools.ts";
import { move, untilWatched } from "./waiting.ts";

// Those of the repository, which no environment lacks.
const { stderr, stdout } = await promisify(execFile)(bufProgram, ["--version"]);
const version = `${stdout}${stderr}`.trim();

describe(`buf curl ${version}`, () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createDatabase();
    app = await startTestApp({ DATABASE_URL: database.url });
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  describe.for([
    { name: "Connect", options: ["--protocol=connect"] },
    { name: "gRPC-Web", options: ["--protocol=grpcweb"] },
    { name: "gRPC", options: ["--protocol=grpc"] },
  ])("$name, by reflection", ({ options }) => {
    /** @returns the exit code, and the messages that buf has printed, or its error. */
    async function call(method: string, request: object): Promise<{ code: number; printed: unknown[] }> {
      const url = `${app.url}/gomemory.status.v1.StatusService/${method}`;
      const args = ["curl", ...options, "--http2-prior-knowledge", "--data", JSON.stringify(request), url];
      const child = spawn(bufProgram, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
      const exit = new Promise<number>((resolve) => child.on("close", resolve));
      const output = (await Promise.all([text(child.stdout), text(child.stderr)])).join("").trim();
      return { code: await exit, printed: output.split(/\n(?={)/).map((message) => JSON.parse(message)) };
    }

    async function documented(reqId: string): Promise<object> {
      return JSON.parse(await documentedJson(database.db, reqId));
    }

    test("a status, and a wait until the job is done", async () => {
      const reqId = await insertJob(database.db);
      const now = await call("GetStatus", { reqId });
      expect(now).toEqual({ code: 0, printed: [await documented(reqId)] });
      const waiting = call("GetStatus", { reqId, wait: "30s" });
      await untilWatched(app.url, 1);
      await move(database, reqId, "success");
      expect(await waiting).toEqual({ code: 0, printed: [await documented(reqId)] });
    });

    test("a watch: the current state, its change, and the end", async () => {
      const reqId = await insertJob(database.db);
      const before = await documented(reqId);
      const watching = call("WatchStatus", { reqIds: [reqId] });
      await untilWatched(app.url, 1);
      await move(database, reqId, "success");
      const events = [before, await documented(reqId)].map((status) => ({ status: { reqId, status } }));
      expect(await watching).toEqual({ code: 0, printed: events });
    });

    test("a batch", async () => {
      const reqId = await insertJob(database.db);
      const unknown = crypto.randomUUID();
      const items = [
        { reqId, status: await documented(reqId) },
        { reqId: unknown, error: { reason: "STATUS_NOT_FOUND" } },
      ];
      const answer = await call("BatchGetStatus", { reqIds: [reqId, unknown] });
      expect(answer).toEqual({ code: 0, printed: [{ items }] });
    });

    test("a malformed id: the error, and its exit code", async () => {
      const { code, printed } = await call("WatchStatus", { reqIds: ["a b"] });
      // Eight times the code, so that exit codes of its own are left.
      expect(code).toBe(3 * 8);
      expect(printed).toEqual([expect.objectContaining({ code: "invalid_argument" })]);
    });
  });
});
