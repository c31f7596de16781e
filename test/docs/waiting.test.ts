import { execFile, spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  StatusService,
  WatchStatusRequestSchema,
  type WatchStatusResponse,
  WatchStatusResponseSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { metricValue } from "../support/metric.ts";
import { startProxy } from "../support/proxy.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { page, root } from "./pages.ts";

const { blocks } = page("docs/use/waiting.md");
const example = (holds: string) => blocks.find(({ code }) => code.includes(holds))?.code ?? "";

let database: TestDatabase;
let folder: Folder;

beforeAll(async () => {
  folder = await createFolder();
  database = await createDatabase();
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Waits until a metric of the service has a value. */
async function untilMetric(
  { url }: TestApp,
  value: number,
  name: string,
  labels: Readonly<Record<string, string>>,
): Promise<void> {
  const read = async () => metricValue(await (await fetch(`${url}/metrics`)).text(), name, labels);
  await expect.poll(read, { timeout: 20_000 }).toBe(value);
}

async function succeed(reqId: string): Promise<unknown> {
  await database.pool.query("update memory_job set status = 'success' where req_id = $1", [reqId]);
  return JSON.parse(await documentedJson(database.db, reqId));
}

/** A client that waits by long polls. */
interface Waiter {
  readonly name: string;
  /** @throws Error with what the service answered. */
  wait(url: string, reqId: string): Promise<unknown>;
}

const node: Waiter = {
  name: "Node",
  async wait(url, reqId) {
    const { waitForStatus } = await import(await folder.write("wait.mjs", example("function waitForStatus")));
    return await waitForStatus(url, reqId);
  },
};

const python: Waiter = {
  name: "Python",
  async wait(url, reqId) {
    const call = `
try:
    print(json.dumps(wait_for_status("${url}", "${reqId}")))
except urllib.error.HTTPError as error:
    raise SystemExit(f"{error.code} {error.headers['Error-Reason']}")`;
    const code = `${example("def wait_for_status")}\n${call}`;
    return JSON.parse((await promisify(execFile)("python3", ["-c", code])).stdout);
  },
};

const hasPython = spawnSync("python3", ["--version"]).error === undefined;

describe.for([node, ...(hasPython ? [python] : [])])("the long poll for $name", ({ wait }) => {
  test("waits again when the wait is over, until the request is done", async () => {
    await using app = await startTestApp({ DATABASE_URL: database.url, MAX_WAIT: "1200ms" });
    const reqId = await insertJob(database.db);
    const waiting = wait(app.url, reqId);
    const labels = { kind: "wait", outcome: "time over" };
    await untilMetric(app, 1, "rpc_server_held_call_duration_seconds_count", labels);
    expect(await succeed(reqId)).toEqual(await waiting);
  });

  test("asks again when the service sheds it", async () => {
    await using app = await startTestApp({ DATABASE_URL: database.url, MAX_WAITING: "1" });
    const [reqId, other] = [await insertJob(database.db), await insertJob(database.db)];
    const held = fetch(`${app.url}/get_status/${other}?wait=30s`);
    await untilMetric(app, 1, "rpc_server_held_calls", { kind: "wait" });
    const waiting = wait(app.url, reqId);
    const labels = { kind: "wait", outcome: "MAX_WAITING" };
    await untilMetric(app, 1, "rpc_server_held_call_duration_seconds_count", labels);
    await succeed(other);
    await held;
    expect(await succeed(reqId)).toEqual(await waiting);
  });

  test("fails for an id that is unknown", async () => {
    await using app = await startTestApp({ DATABASE_URL: database.url });
    await expect(wait(app.url, crypto.randomUUID())).rejects.toThrow("500 STATUS_NOT_FOUND");
  });
});

test.for([
  { holds: "func watchStatuses", path: "test/interop/go/watch-example/watch.go" },
  { holds: "def watch_statuses", path: "test/interop/grpcio/watch_example.py" },
])("the watch with $holds is the one that $path has, which runs", async ({ holds, path }) => {
  expect(example(holds)).toContain(holds);
  expect(await readFile(join(root, path), "utf8")).toContain(example(holds));
});

describe("the watch for JavaScript", () => {
  type Balancer = Awaited<ReturnType<typeof startProxy>>;

  /** Watches as the example does, from a balancer that leads to one instance and then to another. */
  async function watch(end: (first: TestApp, balancer: Balancer) => unknown) {
    const { resolve } = createRequire(import.meta.url);
    const imports = `
import { Code, ConnectError } from ${JSON.stringify(resolve("@connectrpc/connect"))};
import { GetStatusResponse_Status } from ${JSON.stringify(resolve("../../src/gen/gomemory/status/v1/status_pb.ts"))};
`;
    const path = await folder.write("watch.mjs", imports + example("function watchStatuses"));
    const { watchStatuses } = await import(path);
    const done = await insertJob(database.db, { status: "success" });
    const late = await insertJob(database.db, { status: "processing" });
    const unknown = crypto.randomUUID();
    await using first = await startTestApp({ DATABASE_URL: database.url, SHUTDOWN_TIMEOUT: "1s" });
    await using second = await startTestApp({ DATABASE_URL: database.url });
    await using balancer = await startProxy(first.url);
    const client = createClient(StatusService, createGrpcTransport({ baseUrl: balancer.url }));
    const asked: string[][] = [];
    const counted: typeof client = {
      ...client,
      watchStatus(request, options) {
        asked.push(request.reqIds?.toSorted() ?? []);
        return client.watchStatus(request, options);
      },
    };
    const reported: WatchStatusResponse["event"][] = [];
    const watching = watchStatuses(
      counted,
      [done, late.toUpperCase(), unknown],
      (event: WatchStatusResponse["event"]) => reported.push(event),
    );
    await expect.poll(() => reported.length).toBe(3);
    balancer.redirect(second.url);
    await end(first, balancer);
    await untilMetric(second, 1, "rpc_server_held_calls", { kind: "watch" });
    await succeed(late);
    await watching;
    expect(asked).toEqual([[done, late, unknown].toSorted(), [late]]);
    expect(reported.at(-1)).toMatchObject({ case: "status", value: { reqId: late, status: { status: 3 } } });
  }

  test("goes on when an instance shuts down", () => watch((first) => first[Symbol.asyncDispose]()));

  test.for(["reset", "close"] as const)("goes on after a connection's %s", (disturbance) =>
    watch((_, balancer) => {
      balancer.disturb(disturbance);
      balancer.disturb("none");
    }));
});

describe("with the service config of the docs, grpc-js", () => {
  /** Watches one request. @returns the events so far, and how the stream ends. */
  async function watch({ url }: Pick<TestApp, "url">, reqId: string) {
    const serviceConfig = await readFile(join(root, "docs/use/grpc-service-config.json"), "utf8");
    const client = new Client(new URL(url).host, credentials.createInsecure(), {
      "grpc.service_config": serviceConfig,
    });
    const events: WatchStatusResponse[] = [];
    const stream = client.makeServerStreamRequest(
      "/gomemory.status.v1.StatusService/WatchStatus",
      (request) => Buffer.from(toBinary(WatchStatusRequestSchema, request)),
      (bytes) => fromBinary(WatchStatusResponseSchema, bytes),
      create(WatchStatusRequestSchema, { reqIds: [reqId] }),
    );
    stream.on("data", (event) => events.push(event));
    const ended = new Promise<number>((resolve) => {
      stream.on("error", ({ code }: ServiceError) => resolve(code));
      stream.on("end", () => resolve(status.OK));
    }).finally(() => client.close());
    return { events, ended };
  }

  test("retries a watch that is shed", async () => {
    await using app = await startTestApp({ DATABASE_URL: database.url, MAX_WAITING: "1" });
    const [reqId, other] = [
      await insertJob(database.db, { status: "success" }),
      await insertJob(database.db),
    ];
    const held = fetch(`${app.url}/get_status/${other}?wait=30s`);
    await untilMetric(app, 1, "rpc_server_held_calls", { kind: "wait" });
    const { events, ended } = await watch(app, reqId);
    const labels = { kind: "watch", outcome: "MAX_WAITING" };
    await untilMetric(app, 1, "rpc_server_held_call_duration_seconds_count", labels);
    await succeed(other);
    await held;
    expect(await ended).toBe(status.OK);
    expect(events).toHaveLength(1);
  });

  test("does not retry a watch that has begun, although another instance would serve it", async () => {
    const first = await startTestApp({ DATABASE_URL: database.url, SHUTDOWN_TIMEOUT: "1s" });
    await using second = await startTestApp({ DATABASE_URL: database.url });
    await using balancer = await startProxy(first.url);
    const { events, ended } = await watch(balancer, await insertJob(database.db));
    await expect.poll(() => events.length).toBe(1);
    balancer.redirect(second.url);
    await first[Symbol.asyncDispose]();
    expect(await ended).toBe(status.UNAVAILABLE);
    expect(events).toHaveLength(1);
  });
});
