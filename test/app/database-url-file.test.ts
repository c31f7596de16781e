import { mkdir, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder, type Folder } from "../support/folder.ts";
import { runCli } from "../support/process.ts";
import { createLogin, type Login } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";
import { getStatus } from "../support/store.ts";

// DATABASE_URL_FILE: credentials are rotated without a restart.

const polling = { interval: 20, timeout: 20_000 };

let database: TestDatabase;
let reqId: string;
let folder: Folder;
let login: Login;
let next: Login;

beforeAll(async () => {
  database = await createDatabase();
  reqId = await insertJob(database.db, { status: "success" });
});

afterAll(() => database[Symbol.asyncDispose]());

beforeEach(async () => {
  folder = await createFolder();
  login = await createLogin(database, "gomemory_reader");
  next = await createLogin(database, "gomemory_reader");
});

afterEach(async () => {
  await login[Symbol.asyncDispose]();
  await next[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const roleOf = (url: string) => new URL(url).username;

async function sessionsOf({ url }: Login): Promise<number> {
  const { rows } = await database.pool.query(
    "select 1 from pg_stat_activity where usename = $1 and application_name like 'gomemory-status@%'",
    [roleOf(url)],
  );
  return rows.length;
}

/** Asks without a pause. @returns a function that ends it, and returns how many of the answers were each. */
function startCalls({ url }: TestApp): () => Promise<Record<string, number>> {
  let ended = false;
  const counts: Record<string, number> = {};
  const callers = Array.from({ length: 8 }, async () => {
    while (!ended) {
      const answer = String(await getStatus(url, reqId));
      counts[answer] = (counts[answer] ?? 0) + 1;
    }
  });
  return async () => {
    ended = true;
    await Promise.all(callers);
    return counts;
  };
}

function messagesOf({ logs }: TestApp, level: string): unknown[] {
  return logs.filter((line) => line.level === level).map(({ msg }) => msg);
}

test("the password, and then the user, changes while calls are answered: none fails", async () => {
  const file = await folder.write("url", `${login.url}\n`);
  await using app = await startTestApp({ DATABASE_URL_FILE: file });
  const end = startCalls(app);
  await database.pool.query(`alter role ${roleOf(login.url)} password 'secret-word'`);
  await folder.write("url", `${Object.assign(new URL(login.url), { password: "secret-word" }).href}\n`);
  const changed = { level: "info", msg: "the database's URL has changed", file };
  await expect.poll(() => app.logs, polling).toContainEqual(expect.objectContaining(changed));
  await folder.write("url", `${next.url}\n`);
  await expect.poll(() => sessionsOf(login), polling).toBe(0);
  expect(await sessionsOf(next)).toBeGreaterThan(0);
  expect(Object.keys(await end())).toEqual(["success"]);
  expect(messagesOf(app, "error")).toEqual([]);
  expect(JSON.stringify(app.logs)).not.toContain("secret-word");
});

test("the target of a symbolic link is exchanged, as in Kubernetes' volumes", async () => {
  for (const [name, { url }] of Object.entries({ one: login, two: next })) {
    await mkdir(join(folder.path, name));
    await folder.write(`${name}/url`, url);
  }
  await symlink("one", join(folder.path, "..data"));
  await symlink("..data/url", join(folder.path, "url"));
  await using app = await startTestApp({ DATABASE_URL_FILE: join(folder.path, "url") });
  expect(await getStatus(app.url, reqId)).toBe("success");
  await symlink("two", join(folder.path, "..data_tmp"));
  await rename(join(folder.path, "..data_tmp"), join(folder.path, "..data"));
  await expect.poll(() => sessionsOf(login), polling).toBe(0);
  expect(await getStatus(app.url, reqId)).toBe("success");
});

test("a file that cannot be used, or is gone, is logged, and the old URL stays in use", async () => {
  const file = await folder.write("url", login.url);
  await using app = await startTestApp({ DATABASE_URL_FILE: file });
  const failures = () => app.logs.filter(({ level }) => level === "error");
  await folder.write("url", `${login.url}?secret-word`);
  await expect.poll(failures, polling).toHaveLength(1);
  await rm(file);
  await expect.poll(failures, polling).toHaveLength(2);
  const msg = "the file with the database's URL has changed and cannot be used: the old URL stays in use";
  expect(failures()).toEqual([
    expect.objectContaining({ msg, err: expect.objectContaining({ name: "UrlFileError" }) }),
    expect.objectContaining({
      msg,
      err: expect.objectContaining({ message: `DATABASE_URL_FILE=${file} cannot be read (ENOENT)` }),
    }),
  ]);
  expect(JSON.stringify(app.logs)).not.toContain("secret-word");
  expect(await getStatus(app.url, reqId)).toBe("success");
});

test("a database that refuses the password: the service is ready soon after the file has changed", async () => {
  const wrong = Object.assign(new URL(login.url), { password: "secret-word" });
  const file = await folder.write("url", wrong.href);
  await using app = await startTestApp({ DATABASE_URL_FILE: file });
  expect(await getStatus(app.url, reqId)).toBe("DATASTORE_UNAVAILABLE");
  await folder.write("url", login.url);
  await expect.poll(() => getStatus(app.url, reqId), polling).toBe("success");
  expect(JSON.stringify(app.logs)).not.toContain("secret-word");
});

test("a migration that waits for the database uses the URL that the file has then", async () => {
  await using empty = await createDatabase({ migrated: false });
  const wrong = Object.assign(new URL(empty.url), { password: "secret-word" });
  const file = await folder.write("url", wrong.href);
  await using app = await startTestApp({ DATABASE_URL_FILE: file, MIGRATE: "true" });
  await folder.write("url", empty.url);
  await expect.poll(async () => (await fetch(`${app.url}/readyz`)).status, polling).toBe(200);
});

test("DATABASE_READ_URL_FILE: the replica's user changes", async () => {
  const file = await folder.write("read", login.url);
  await using app = await startTestApp({ DATABASE_URL: database.url, DATABASE_READ_URL_FILE: file });
  await expect.poll(() => sessionsOf(login), polling).toBeGreaterThan(0);
  await folder.write("read", next.url);
  await expect.poll(() => sessionsOf(next), polling).toBeGreaterThan(0);
  await expect.poll(() => sessionsOf(login), polling).toBe(0);
  expect(await getStatus(app.url, reqId)).toBe("success");
});

test("migrate has its database from the file", async () => {
  await using empty = await createDatabase({ migrated: false });
  const file = await folder.write("url", `${empty.url}\n`);
  await using migrate = runCli(["migrate"], { DATABASE_URL_FILE: file, NODE_ENV: "production" });
  expect((await migrate.exit).code).toBe(0);
  const { rows } = await empty.pool.query("select count(*)::int as jobs from memory_job");
  expect(rows).toEqual([{ jobs: 0 }]);
});
