import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { installPython } from "./tools.ts";
import { move, untilWatched } from "./waiting.ts";

const requests = await installPython("requests", ["requests==2.34.2"]);

/** Prints the status code, the headers that tell how long the service has waited and whether to ask again, and the body. */
const get = `
import json, sys, requests
url, options = sys.argv[1], json.loads(sys.argv[2])
response = requests.get(url, timeout=40, **options)
headers = {name: response.headers.get(name) for name in ("Preference-Applied", "Retry-After", "Error-Reason")}
print(json.dumps({"code": response.status_code, **headers, "body": response.text}))
`;

const post = `
import json, sys, requests
response = requests.post(sys.argv[1], json={"reqIds": sys.argv[2:]})
print(json.dumps({"code": response.status_code, **response.json()}))
`;

/** Prints each line of the events as it arrives. */
const stream = `
import sys, requests
with requests.get(sys.argv[1], headers={"Accept": "text/event-stream"}, stream=True, timeout=40) as response:
    print(response.status_code, response.headers["Content-Type"])
    for line in response.iter_lines(decode_unicode=True):
        if line and not line.startswith("retry:"):
            print(line)
`;

async function python(script: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(requests.path, ["-c", script, ...args]);
  return stdout;
}

describe.skipIf(requests.skipped)(`${requests.title} (Python)`, () => {
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

  async function ask(reqId: string, options: object): Promise<object> {
    return JSON.parse(await python(get, `${app.url}/get_status/${reqId}`, JSON.stringify(options)));
  }

  test.for([
    { name: "?wait=30s", options: { params: { wait: "30s" } }, applied: null },
    { name: "Prefer: wait=30", options: { headers: { Prefer: "wait=30" } }, applied: "wait=30" },
    {
      name: "Prefer: wait=600, more than MAX_WAIT",
      options: { headers: { Prefer: "respond-async, wait=600" } },
      applied: "wait=30",
    },
  ])("$name: the answer comes when the job is done", async ({ options, applied }) => {
    const reqId = await insertJob(database.db);
    const asking = ask(reqId, options);
    await untilWatched(app.url, 1);
    await move(database, reqId, "success");
    expect(await asking).toEqual({
      code: 200,
      "Preference-Applied": applied,
      "Retry-After": null,
      "Error-Reason": null,
      body: await documentedJson(database.db, reqId),
    });
  });

  test("a wait that is over: 200, with the status as it is, and when to ask again", async () => {
    const reqId = await insertJob(database.db);
    const body = await documentedJson(database.db, reqId);
    for (const [options, applied] of [
      [{ params: { wait: "300ms" } }, null],
      [{ headers: { Prefer: "wait=1" } }, "wait=1"],
      // The query wins.
      [{ params: { wait: "0.3s" }, headers: { Prefer: "wait=30" } }, null],
    ] as const) {
      expect(await ask(reqId, options)).toMatchObject({
        code: 200,
        "Preference-Applied": applied,
        "Retry-After": "2",
        body,
      });
    }
  });

  test("?wait=soon: 400, INVALID_WAIT", async () => {
    const asked = ask(crypto.randomUUID(), { params: { wait: "soon" } });
    expect(await asked).toMatchObject({ code: 400, "Error-Reason": "INVALID_WAIT" });
  });

  test("events, read as a stream: the current state, its change, and the end", async () => {
    const reqId = await insertJob(database.db);
    const pending = await documentedJson(database.db, reqId);
    const streaming = python(stream, `${app.url}/get_status/${reqId}`);
    await untilWatched(app.url, 1);
    await move(database, reqId, "success");
    const { createdAt } = JSON.parse(pending);
    expect(await streaming).toBe(
      [
        "200 text/event-stream",
        ...[`id: ${createdAt}/pending`, "event: status", `data: ${pending}`],
        ...[`id: ${createdAt}/success`, "event: status"],
        `data: ${await documentedJson(database.db, reqId)}`,
        ...["event: end", 'data: {"reason":"FINAL"}', ""],
      ].join("\n"),
    );
  });

  test("a batch", async () => {
    const reqId = await insertJob(database.db);
    const unknown = crypto.randomUUID();
    expect(JSON.parse(await python(post, `${app.url}/get_status:batch`, reqId, unknown))).toEqual({
      code: 200,
      items: [
        { reqId, status: JSON.parse(await documentedJson(database.db, reqId)) },
        { reqId: unknown, error: { reason: "STATUS_NOT_FOUND" } },
      ],
    });
  });
});
