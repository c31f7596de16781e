import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Demo, startDemo } from "../../demo/demo.ts";
import { readConfig } from "../../src/config/config.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { insertJob } from "../support/rows.ts";
import { installPython } from "./tools.ts";

const sdk = await installPython("gomemory", ["gomemory==0.1.0", "pydantic==2.14.4", "requests==2.34.2"]);

const sorry = "We are experiencing some techincal issues right now. Please try again after some time!";

// Prints the result of get_status, or the exception with its text and its attributes.
const getStatus = `
import json, sys
from gomemory import GoMemoryClient
try:
    print(GoMemoryClient(base_url=sys.argv[1]).get_status(req_id=sys.argv[2]).model_dump_json())
except Exception as error:
    print(json.dumps({"raised": f"{type(error).__module__}.{type(error).__name__}", "shown": str(error), **vars(error)}))
`;

async function python(script: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(sdk.path, ["-c", script, ...args]);
  return stdout;
}

async function ask(url: string, reqId: string): Promise<unknown> {
  return JSON.parse(await python(getStatus, url, reqId));
}

/** The SDK's exception for an error response. */
function apiError(status: number, message: string) {
  const shown = `HTTP ${status} - ${message} (${message})`;
  return { raised: "gomemory.exceptions.APIError", shown, status, message, error_details: message };
}

describe.skipIf(sdk.skipped)(`${sdk.title} (Python SDK)`, () => {
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

  test.for([
    { status: "pending" },
    { status: "processing" },
    { status: "success" },
    { status: "failure", error: "Vector database timeout during embedding generation" },
  ] as const)("get_status: $status", async (job) => {
    const reqId = await insertJob(database.db, job);
    const created_at = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(await ask(app.url, reqId)).toEqual({ error: null, ...job, created_at });
  });

  test("get_status: a base URL that ends with a slash", async () => {
    const reqId = await insertJob(database.db);
    expect(await ask(`${app.url}/`, reqId)).toMatchObject({ status: "pending" });
  });

  test.for(["not-a-uuid", ""])('get_status: the id "%s" raises APIError, HTTP 400', async (reqId) => {
    expect(await ask(app.url, reqId)).toEqual(apiError(400, "Bad Request"));
  });

  test("get_status: an unknown id raises APIError, HTTP 500", async () => {
    expect(await ask(app.url, crypto.randomUUID())).toEqual(apiError(500, sorry));
  });

  test("get_status: an expired id raises APIError, HTTP 500", async () => {
    const reqId = await insertJob(database.db, { status: "success", age: 24 * 3600 + 1 });
    expect(await ask(app.url, reqId)).toEqual(apiError(500, sorry));
  });

  test("get_status: without a database raises APIError, HTTP 500", async () => {
    await using lost = await startTestApp({ DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" });
    expect(await ask(lost.url, crypto.randomUUID())).toEqual(apiError(500, sorry));
  });

  test("the call of the README", async () => {
    const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
    const [, documented = ""] = /```python\n(.*?)```/s.exec(readme) ?? [];
    const reqId = await insertJob(database.db, { status: "success" });
    const call = documented.replace("http://localhost:9000", app.url).replace(/(?<=req_id=")[^"]+/, reqId);
    expect(await python(call)).toBe("Status: success\n");
  });

  describe("the polling loop of its documentation, with the demo", () => {
    let demo: Demo;
    let loop: string;

    beforeAll(async () => {
      // The loop polls at once, after two seconds, and after four.
      const step = 1_300;
      const config = readConfig({ DATABASE_URL: database.url, HOST: "127.0.0.1", PORT: "0" }, "serve");
      demo = await startDemo(config, createLog("silent", { write() {} }), new AbortController().signal, step);
      const page = await readFile(new URL("../../docs/use/python-sdk.md", import.meta.url), "utf8");
      const [, documented = ""] = /```python\n(.*?)```/s.exec(page) ?? [];
      loop = documented.replace("http://localhost:9000", `http://127.0.0.1:${demo.port}`);
    });

    afterAll(() => demo[Symbol.asyncDispose]());

    test("a pending status says when to ask again, which the loop does not read", async () => {
      const reqId = await insertJob(database.db);
      const answer = await fetch(`${app.url}/get_status/${reqId}`);
      expect(answer.headers.get("retry-after")).toBe("2");
      expect(await ask(app.url, reqId)).toMatchObject({ status: "pending" });
    });

    test("ends with success, and prints created_at", async () => {
      expect(await python(loop)).toMatch(
        /^Current Status: pending\nCurrent Status: processing\nCurrent Status: success\nJob completed successfully\. Created at: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n$/,
      );
    });

    test("ends with failure, and prints error", async () => {
      const failing = loop.replace("Test memory status", "Test memory status, and fail");
      expect(await python(failing)).toMatch(
        /Current Status: failure\nJob failed with error: Vector database timeout during embedding generation\n$/,
      );
    });

    test("add_memory: no messages raises APIError, HTTP 400", async () => {
      const script = `
import sys
from gomemory import APIError, GoMemoryClient
try:
    GoMemoryClient(base_url=sys.argv[1]).add_memory(user_id="mario", messages=[])
except APIError as error:
    print(error)`;
      const printed = await python(script, `http://127.0.0.1:${demo.port}`);
      expect(printed).toBe("HTTP 400 - No messages provided (No messages provided)\n");
    });
  });
});
