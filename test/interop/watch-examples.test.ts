import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { startProxy } from "../support/proxy.ts";
import { insertJob } from "../support/rows.ts";
import { buildGo, installPython, root } from "./tools.ts";

const go = await buildGo("watch-example", "google.golang.org/grpc");
const grpcio = await installPython("grpcio", [
  "grpcio==1.85.3",
  "grpcio-tools==1.85.1",
  "grpcio-status==1.85.3",
  "googleapis-common-protos==1.76.0",
]);

/** The folder of the code that grpcio-tools generates from the proto. */
let generated: string;
let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
  generated = await mkdtemp(join(tmpdir(), "gomemory-status-watch-example-"));
  if (grpcio.skipped) return;
  const includes = ["proto", "node_modules/google-gax/build/protos"].map((path) => `-I${path}`);
  const outputs = ["python", "grpc_python"].map((kind) => `--${kind}_out=${generated}`);
  const args = ["-m", "grpc_tools.protoc", ...includes, ...outputs, "gomemory/status/v1/status.proto"];
  await promisify(execFile)(grpcio.path, args, { cwd: root });
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await rm(generated, { recursive: true, force: true });
});

/** The programs that contain the examples of docs/use/waiting.md. */
const programs = [
  { tool: { ...go, title: go.title.replace("watch-example", "grpc-go") }, args: [] },
  { tool: grpcio, args: [join(import.meta.dirname, "grpcio", "watch_example.py")] },
];

/** How a watch may end before its time. */
const ends: readonly {
  readonly name: string;
  readonly end: (first: TestApp, balancer: Balancer) => unknown;
}[] = [
  { name: "an instance shuts down", end: (first) => first[Symbol.asyncDispose]() },
  {
    name: "a connection is cut",
    end(_, balancer) {
      balancer.disturb("close");
      balancer.disturb("none");
    },
  },
];

type Balancer = Awaited<ReturnType<typeof startProxy>>;

describe.for(programs)("$tool.title", ({ tool, args }) => {
  describe.skipIf(tool.skipped)("gRPC", () => {
    test.for(ends)("the example for watches goes on when $name", async ({ end }) => {
      await using first = await startTestApp({ DATABASE_URL: database.url, SHUTDOWN_TIMEOUT: "1s" });
      await using second = await startTestApp({ DATABASE_URL: database.url });
      await using balancer = await startProxy(first.url);
      const late = await insertJob(database.db);
      const done = await insertJob(database.db, { status: "success" });
      const unknown = crypto.randomUUID();
      const child = spawn(tool.path, [...args, new URL(balancer.url).host, late, done, unknown], {
        env: { ...process.env, PYTHONPATH: generated },
        stdio: ["ignore", "pipe", "inherit"],
      });
      const ended = once(child, "exit");
      const states: [reqId: string, state: string][] = [];
      createInterface({ input: child.stdout }).on("line", (line) => {
        const { status, gone } = JSON.parse(line);
        states.push(gone === undefined ? [status.reqId, status.status.status] : [gone.reqId, "gone"]);
      });

      await expect.poll(() => states.length).toBe(3);
      expect(Object.fromEntries(states)).toEqual({ [late]: "pending", [done]: "success", [unknown]: "gone" });
      balancer.redirect(second.url);
      await end(first, balancer);
      await expect.poll(() => states.slice(3)).toEqual([[late, "pending"]]);
      await database.pool.query("update memory_job set status = 'success' where req_id = $1", [late]);
      expect(await ended).toEqual([0, null]);
      expect(states.slice(4)).toEqual([[late, "success"]]);
    });
  });
});
