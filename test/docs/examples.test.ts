import { execFile, spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { toJsonString } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { settings } from "../../src/config/settings.ts";
import { StatusService, WatchStatusResponseSchema } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { openProbes } from "../../src/server/probes.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { rolesSql } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";
import { tokenLine } from "../support/tokens.ts";
import { blocksIn, page, root } from "./pages.ts";
import { exampleError, exampleId, unknownId } from "./session.ts";

let database: TestDatabase;
let folder: Folder;
let app: TestApp;

beforeAll(async () => {
  folder = await createFolder();
  database = await createDatabase();
  app = await startTestApp({ DATABASE_URL: database.url });
});

afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** @returns an answer with the id and the time of the examples. */
function asInExamples(answer: string, reqId: string): string {
  return answer
    .replaceAll(reqId, exampleId)
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, "2026-03-03T21:44:15Z");
}

describe("JSON", () => {
  /** Every answer that a page may show; of a status, with the id and the time of the examples. */
  async function realAnswers(): Promise<unknown[]> {
    const AUTH_TOKENS_FILE = await folder.write("tokens", tokenLine("alice", "of-alice"));
    await using withTokens = await startTestApp({ DATABASE_URL: database.url, AUTH_TOKENS_FILE });
    const reqId = await insertJob(database.db, { status: "failure", error: exampleError });
    const answers = await Promise.all(
      [
        `${app.url}/get_status/${reqId}`,
        `${app.url}/get_status/${crypto.randomUUID()}`,
        `${app.url}/get_status/nonsense`,
        `${withTokens.url}/get_status/${reqId}`,
        ...openProbes.map((path) => `${app.url}${path}`),
      ].map(async (url) => await (await fetch(url)).text()),
    );
    const batch = await fetch(`${app.url}/get_status:batch`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ reqIds: [reqId, unknownId] }),
    });
    const client = createClient(
      StatusService,
      createConnectTransport({ baseUrl: app.url, httpVersion: "1.1" }),
    );
    const events = await Array.fromAsync(client.watchStatus({ reqIds: [reqId] }));
    answers.push(
      await batch.text(),
      ...events.map((event) => toJsonString(WatchStatusResponseSchema, event)),
    );
    return answers.map((answer) => JSON.parse(asInExamples(answer, reqId)));
  }

  test("is what the service answers", async () => {
    const answers = await realAnswers();
    const examples = blocksIn("json");
    expect(examples.length).toBeGreaterThan(5);
    for (const { path, code } of examples)
      expect(answers, `${path}: ${code}`).toContainEqual(JSON.parse(code));
  });
});

test("server-sent events are what the service sends", async () => {
  const examples = blocksIn("text").filter(({ code }) => /^id: .*\/failure\nevent: /m.test(code));
  expect(examples).not.toEqual([]);
  const reqId = await insertJob(database.db, { status: "failure", error: exampleError });
  const response = await fetch(`${app.url}/get_status/${reqId}`, {
    headers: { Accept: "text/event-stream" },
  });
  const sent = asInExamples(await response.text(), reqId);
  for (const { code } of examples) expect(sent.replace(/^retry: [2-5]\d{3}$/m, "retry: 3141")).toBe(code);
});

test("SQL for operators is what PostgreSQL takes", async () => {
  const statements = blocksIn("sql").filter(
    // test/docs/retention.test.ts runs what pg_cron would run.
    ({ path, code }) => path.startsWith("docs/operate/") && !code.includes("cron.schedule"),
  );
  expect(statements.length).toBeGreaterThan(1);
  await database.pool.query(rolesSql);
  const client = await database.pool.connect();
  try {
    for (const { code } of statements) {
      await client.query("begin");
      if (code.includes("status_service")) await client.query("create role status_service");
      await client.query(code);
      await client.query("rollback");
    }
  } finally {
    client.release(true);
  }
});

test("YAML names settings and paths that exist", () => {
  const blocks = blocksIn("yaml");
  expect(blocks).not.toEqual([]);
  for (const { code } of blocks) {
    const names = Array.from(code.matchAll(/- name: ([A-Z_]+)/g), ([, name = ""]) => name);
    for (const name of names) expect(Object.keys(settings)).toContain(name);
    for (const [, path = ""] of code.matchAll(/path: (\S+),/g)) expect(openProbes).toContain(path);
  }
});

test("the service config of the page is the file beside it", async () => {
  const config = JSON.parse(await readFile(join(root, "docs/use/grpc-service-config.json"), "utf8"));
  const { retryableStatusCodes, maxAttempts } = config.methodConfig[0].retryPolicy;
  expect(page("docs/use/errors-and-retries.md").text).toContain("four\nattempts in all, and nothing else");
  expect([retryableStatusCodes.toSorted(), maxAttempts]).toEqual([["RESOURCE_EXHAUSTED", "UNAVAILABLE"], 4]);
});

describe.skipIf(spawnSync("python3", ["--version"]).error !== undefined)("the client for Python", () => {
  const [example] = blocksIn("python").filter(({ code }) => code.includes("urllib.request"));

  async function ask(reqId: string): Promise<string> {
    const call = `
try:
    print(get_status("${app.url}", "${reqId}")["status"])
except urllib.error.HTTPError as error:
    print(error.code, error.headers["Error-Reason"])`;
    const { stdout } = await promisify(execFile)("python3", ["-c", `${example?.code}\n${call}`]);
    return stdout.trim();
  }

  test("returns a status", async () => expect(await ask(await insertJob(database.db))).toBe("pending"));

  test("takes an unknown id as final", async () => {
    expect(await ask(crypto.randomUUID())).toBe("500 STATUS_NOT_FOUND");
  });
});
