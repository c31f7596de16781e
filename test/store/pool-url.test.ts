import { chmod } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { parseReqId } from "../../src/status/req-id.ts";
import { openConnections } from "../../src/store/connections/connections.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { createFolder } from "../support/folder.ts";
import { startLoad } from "../support/load.ts";
import { startProxy } from "../support/proxy.ts";
import { createLogin, type Login } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";
import { callWithin, openNoting, poolOptions } from "../support/store.ts";

// Credentials are rotated while calls are answered: not one call fails.

let database: TestDatabase;
let reqId: string;
let login: Login;
let role: string;

beforeAll(async () => {
  database = await createDatabase();
  reqId = await insertJob(database.db, { status: "success" });
});

afterAll(() => database[Symbol.asyncDispose]());

beforeEach(async () => {
  login = await createLogin(database, "gomemory_reader");
  role = new URL(login.url).username;
  return () => login[Symbol.asyncDispose]();
});

async function backends(user = role): Promise<number[]> {
  const { rows } = await database.pool.query<{ pid: number }>(
    "select pid from pg_stat_activity where usename = $1 and application_name like 'gomemory-status@%'",
    [user],
  );
  return rows.map(({ pid }) => pid);
}

function setPassword(password: string): Promise<unknown> {
  return database.pool.query(`alter role ${role} password '${password}'`);
}

function withPassword(password: string): string {
  return Object.assign(new URL(login.url), { password }).href;
}

test.for([
  1, 4,
])("a password changes in the database and then in the URL, with a pool of %d", async (size) => {
  await using busy = openNoting(login.url, size);
  const load = startLoad(busy.statuses, reqId);
  await expect.poll(() => backends()).toHaveLength(size);
  const before = await backends();
  await setPassword("next");
  busy.changeUrl(withPassword("next"));
  await expect.poll(async () => (await backends()).filter((pid) => before.includes(pid))).toEqual([]);
  const answers = load.answers;
  await expect.poll(() => load.answers).toBeGreaterThan(answers + 100);
  await load.end();
  expect(busy.errors).toEqual([]);
});

test("a password changes in the URL first: the old connections stay in use until the database takes the new one", async () => {
  await using busy = openNoting(login.url, 4);
  const load = startLoad(busy.statuses, reqId);
  await expect.poll(() => backends()).toHaveLength(4);
  const before = await backends();
  busy.changeUrl(withPassword("next"));
  await expect.poll(() => busy.errors).toContainEqual(expect.objectContaining({ code: "28P01" }));
  const answers = load.answers;
  await expect.poll(() => load.answers).toBeGreaterThan(answers + 100);
  await setPassword("next");
  await expect.poll(async () => (await backends()).filter((pid) => before.includes(pid))).toEqual([]);
  await load.end();
});

test("calls share the connections that are open while the database refuses the old password", async () => {
  await using busy = openNoting(login.url, 4);
  await busy.probe(AbortSignal.timeout(10_000));
  await setPassword("next");
  const load = startLoad(busy.statuses, reqId);
  await expect.poll(() => busy.errors).toEqual([expect.objectContaining({ code: "28P01" })]);
  const answers = load.answers;
  await expect.poll(() => load.answers).toBeGreaterThan(answers + 100);
  busy.changeUrl(withPassword("next"));
  await expect.poll(() => busy.pool().open).toBe(4);
  await load.end();
  expect(busy.errors).toHaveLength(1);
});

test("calls have all connections again once the database accepts the password", async () => {
  await using busy = openNoting(login.url, 4);
  await busy.probe(AbortSignal.timeout(10_000));
  await setPassword("next");
  const load = startLoad(busy.statuses, reqId);
  await expect.poll(() => busy.errors).toContainEqual(expect.objectContaining({ code: "28P01" }));
  await setPassword(new URL(login.url).password);
  // The next connection is opened in place of one that is lost.
  for (const pid of await backends()) await database.pool.query("select pg_terminate_backend($1)", [pid]);
  await expect.poll(() => busy.pool().open).toBe(4);
  await load.end();
});

test("without any connection, the database is gone while it refuses the password, and back once the URL has changed", async () => {
  await using idle = openNoting(withPassword("next"), 2);
  await expect(idle.probe(AbortSignal.timeout(10_000))).rejects.toMatchObject({ code: "28P01" });
  idle.changeUrl(login.url);
  await idle.probe(AbortSignal.timeout(10_000));
});

test("another user: the old one can be dropped once it has no session", async () => {
  await using next = await createLogin(database, "gomemory_reader");
  await using busy = openNoting(login.url, 4);
  const load = startLoad(busy.statuses, reqId);
  await expect.poll(() => backends()).toHaveLength(4);
  busy.changeUrl(next.url);
  await expect.poll(() => backends()).toEqual([]);
  expect(await backends(new URL(next.url).username)).not.toEqual([]);
  await load.end();
  expect(busy.errors).toEqual([]);
});

test("another host: idle connections lead there without a call", async () => {
  await using before = await startProxy(login.url);
  await using after = await startProxy(login.url);
  await using idle = openNoting(before.url, 2);
  await idle.probe(AbortSignal.timeout(10_000));
  expect(before.connections).toBe(1);
  idle.changeUrl(after.url);
  await expect.poll(() => [before.connections, after.connections]).toEqual([0, 1]);
  expect(idle.errors).toEqual([]);
});

test("a URL that leads nowhere is not used for what is open, and the next one is", async () => {
  await using idle = openNoting(login.url, 2);
  await idle.probe(AbortSignal.timeout(10_000));
  const before = await backends();
  await using gone = await startProxy(login.url);
  gone.cut();
  idle.changeUrl(gone.url);
  await expect.poll(() => idle.errors).toHaveLength(1);
  expect(await idle.statuses.find(parseReqId(reqId), callWithin())).toMatchObject({ status: "success" });
  expect(await backends()).toEqual(before);
  idle.changeUrl(login.url);
  await expect.poll(() => backends()).not.toEqual(before);
});

test("a URL that leads nowhere costs one connection where there is no room for another, and no more", async () => {
  await using gone = await startProxy(login.url);
  gone.cut();
  const failures: unknown[] = [];
  await using connections = openConnections({
    ...poolOptions,
    url: login.url,
    size: 2,
    onNotReplaced: (error) => failures.push(error),
  });
  const first = await connections.take();
  const second = await connections.take();
  connections.changeUrl(gone.url);
  second.release();
  await expect.poll(() => first.isUsable).toBe(false);
  first.release();
  await expect.poll(() => failures).toEqual([expect.objectContaining({ code: "ECONNREFUSED" })]);
  expect(await connections.take()).toBe(second);
  second.release();
});

test("a URL that has changed again while it was tried is not used for what is open", async () => {
  await using idle = openNoting(login.url, 2);
  await idle.probe(AbortSignal.timeout(10_000));
  const before = await backends();
  await using gone = await startProxy(login.url);
  gone.cut();
  await using tried = await startProxy(login.url);
  tried.disturb("stall");
  idle.changeUrl(tried.url);
  await expect.poll(() => tried.connections).toBe(1);
  idle.changeUrl(gone.url);
  tried.disturb("none");
  await expect.poll(() => idle.errors).toEqual([expect.objectContaining({ code: "ECONNREFUSED" })]);
  expect(await idle.statuses.find(parseReqId(reqId), callWithin())).toMatchObject({ status: "success" });
  expect(await backends()).toEqual(before);
});

test("a passfile is read for each connection: a password changes there, and connections are replaced at their age", async () => {
  await using folder = await createFolder();
  const old = new URL(login.url);
  const passfile = await folder.write("passfile", `*:*:*:${role}:${old.password}\n`);
  await chmod(passfile, 0o600);
  old.password = "";
  old.search = `?passfile=${encodeURIComponent(passfile)}`;
  await using busy = openNoting(old.href, 4, 200);
  const load = startLoad(busy.statuses, reqId);
  await expect.poll(() => backends()).toHaveLength(4);
  await setPassword("next");
  await folder.write("passfile", `*:*:*:${role}:next\n`);
  const before = await backends();
  await expect.poll(async () => (await backends()).filter((pid) => before.includes(pid))).toEqual([]);
  await load.end();
});
