import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Setting, settings } from "../../src/config/settings.ts";
import { startTestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder } from "../support/folder.ts";
import { createLogin, type Login } from "../support/roles.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { tokenLine } from "../support/tokens.ts";

const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");

test.for([
  { name: "settings", isTuning: false },
  { name: "tuning", isTuning: true },
])("the table of $name is what the service reads", ({ isTuning }) => {
  const rows = Object.entries<Setting<unknown>>(settings)
    .filter(([, { tuning = false }]) => tuning === isTuning)
    .map(
      ([name, { default: preset, help }]) =>
        `| \`${name}\` | ${preset === undefined ? "" : `\`${preset}\``} | ${help} |`,
    );
  const table = ["| variable | default | what it is for |", "|---|---|---|", ...rows].join("\n");
  expect(readme).toContain(`\n\n${table}\n\n`);
});

test("the certificate of the recipe is no CA, which clients on rustls refuse as a server's", () => {
  const [recipe] = /^openssl req (?:.*\\\n)*.*/m.exec(readme) ?? [];
  expect(recipe).toContain("-addext basicConstraints=critical,CA:FALSE");
});

test("buf curl works as the README has it, on a port with tokens", async () => {
  await using folder = await createFolder();
  await using database = await createDatabase();
  const reqId = await insertJob(database.db);
  const AUTH_TOKENS_FILE = await folder.write("tokens", tokenLine("alice", "of-alice"));
  await using app = await startTestApp({ DATABASE_URL: database.url, AUTH_TOKENS_FILE });
  const [command = ""] = /^node_modules\/\.bin\/buf curl (?:.*\\\n)*.*/m.exec(readme) ?? [];
  const asked = command
    .replace("localhost:9000", `127.0.0.1:${app.port}`)
    .replace(/(?<="reqId":")[^"]+/, reqId);
  const { stdout } = await promisify(execFile)("sh", ["-c", asked], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    env: { ...process.env, TOKEN: "of-alice" },
    timeout: 20_000,
  });
  expect(JSON.parse(stdout)).toEqual(JSON.parse(await documentedJson(database.db, reqId)));
}, 30_000);

describe("the statements for producers, as they stand in the README", () => {
  const [submit = "", begin = "", succeed = "", fail = "", ...more] = Array.from(
    readme.matchAll(/```sql\n(.*?)```/gs),
    ([, statement]) => statement,
  );
  let database: TestDatabase;
  let producer: Login;

  beforeAll(async () => {
    database = await createDatabase();
    producer = await createLogin(database, "gomemory_producer");
  });

  afterAll(async () => {
    await producer[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  async function statusOf(reqId: string) {
    const { rows } = await database.pool.query("select status, error from memory_job where req_id = $1", [
      reqId,
    ]);
    return rows[0];
  }

  test("are four", () => expect(more).toEqual([]));

  test("a job's life: submitted, begun, failed, submitted again, begun, done", async () => {
    const reqId = randomUUID();
    const run = async (statement: string, ...values: string[]) =>
      (await producer.pool.query(statement, [reqId, ...values])).rowCount;
    expect(await run(submit)).toBe(1);
    expect(await statusOf(reqId)).toEqual({ status: "pending", error: null });
    expect(await run(submit)).toBe(0);
    expect(await run(begin)).toBe(1);
    expect(await statusOf(reqId)).toEqual({ status: "processing", error: null });
    expect(await run(submit)).toBe(0);
    expect(await run(fail, "it broke")).toBe(1);
    expect(await statusOf(reqId)).toEqual({ status: "failure", error: "it broke" });
    expect(await run(submit)).toBe(1);
    expect(await statusOf(reqId)).toEqual({ status: "pending", error: null });
    await run(begin);
    expect(await run(succeed)).toBe(1);
    expect(await statusOf(reqId)).toEqual({ status: "success", error: null });
    expect(await run(submit)).toBe(0);
    await expect(run(fail, "too late")).rejects.toMatchObject({
      code: "23514",
      constraint: "memory_job_guard",
    });
  });

  test("an expired job is submitted anew", async () => {
    const reqId = await insertJob(database.db, { status: "success", age: 24 * 3600 + 1 });
    expect((await producer.pool.query(submit, [reqId])).rowCount).toBe(1);
    expect(await statusOf(reqId)).toEqual({ status: "pending", error: null });
  });

  test("a job that is not there", async () => {
    expect((await producer.pool.query(begin, [randomUUID()])).rowCount).toBe(0);
  });
});
