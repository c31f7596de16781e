import dns from "node:dns/promises";
import { once } from "node:events";
import { syncBuiltinESMExports } from "node:module";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openConnections } from "../../src/store/connections/connections.ts";
import { createReader } from "../../src/store/reads/reader.ts";
import { statusQueries } from "../../src/store/reads/status-query.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { startLoad } from "../support/load.ts";
import { createLogin } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";
import { openNoting, openTestConnections, poolOptions } from "../support/store.ts";

// Connections that have reached their age are replaced, and no call notices.

let database: TestDatabase;
let reqId: string;

// The address of the name that no resolver knows.
const { lookup } = dns;
let resolve = () => "127.0.0.1";

beforeAll(() => {
  Object.assign(dns, { lookup: async () => [{ address: resolve(), family: 4 }] });
  // Named imports of the module follow.
  syncBuiltinESMExports();
});

afterAll(() => {
  Object.assign(dns, { lookup });
  syncBuiltinESMExports();
});

beforeAll(async () => {
  database = await createDatabase();
  reqId = await insertJob(database.db, { status: "success" });
});

afterAll(() => database[Symbol.asyncDispose]());

/** A way to the database by another address. */
async function startForward(host: string, port: number) {
  const { hostname, port: databasePort } = new URL(database.url);
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(databasePort), hostname);
    clients.add(client);
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) {
      socket.on("error", () => {});
      socket.on("close", () => {
        clients.delete(client);
        client.destroy();
        upstream.destroy();
      });
    }
  });
  server.listen(port, host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return clients.size;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const client of clients) client.destroy();
      await closed;
    },
  };
}

/** @returns the processes of the server that serve the service. */
async function backends(): Promise<number[]> {
  const { rows } = await database.pool.query<{ pid: number }>(
    "select pid from pg_stat_activity where datname = current_database() and application_name like 'gomemory-status@%'",
  );
  return rows.map(({ pid }) => pid);
}

test.for([
  1, 2, 4,
])("a pool of %d under load replaces its connections one by one, and no call fails", async (size) => {
  await using busy = openNoting(database.url, size, 50);
  const load = startLoad(busy.statuses, reqId);
  const seen = new Set<number>();
  await expect
    .poll(async () => {
      for (const pid of await backends()) seen.add(pid);
      expect(busy.pool().open).toBeLessThanOrEqual(size);
      return seen.size;
    })
    .toBeGreaterThan(3 * size);
  expect(await load.end()).toBeGreaterThan(0);
  expect(busy.errors).toEqual([]);
});

test("an idle connection is replaced, and none is opened in place of one that was closed", async () => {
  await using connections = openConnections({ ...poolOptions, url: database.url, size: 3, maxAge: 100 });
  (await connections.take()).release();
  const [first] = await backends();
  await expect.poll(backends).not.toContain(first);
  // Two while one is being replaced.
  await expect.poll(() => connections.state().open).toBe(1);
});

test("a connection is not closed under its statement, however old it is", async () => {
  await using connections = openConnections({ ...poolOptions, url: database.url, size: 2, maxAge: 30 });
  const connection = await connections.take();
  const holder = await database.pool.connect();
  await holder.query("select pg_advisory_lock(1)");
  const waiting = connection.query("select pg_backend_pid() as pid, pg_advisory_lock_shared(1)");
  await expect.poll(() => connection.isUsable).toBe(false);
  await holder.query("select pg_advisory_unlock(1)");
  holder.release();
  const { rows } = await waiting;
  connection.release();
  await expect.poll(backends).not.toContain(rows[0].pid);
});

test("an old connection stays in use while the server takes no new ones", async () => {
  await using login = await createLogin(database, "gomemory_reader");
  const role = new URL(login.url).username;
  const failures: unknown[] = [];
  await using connections = openConnections({
    ...poolOptions,
    url: login.url,
    size: 2,
    maxAge: 100,
    onNotReplaced: (error) => failures.push(error),
  });
  const connection = await connections.take();
  // Until this one is released, there is no room for one in place of another.
  const other = await connections.take();
  await database.pool.query(`alter role ${role} password 'another'`);
  other.release(true);
  connection.release();
  await expect.poll(() => failures).toEqual([expect.objectContaining({ code: "28P01" })]);
  expect(await connections.take()).toBe(connection);
  connection.release();
  await database.pool.query(`alter role ${role} password '${new URL(login.url).password}'`);
  await expect.poll(() => connection.isUsable).toBe(false);
  const next = await connections.take();
  expect(next).not.toBe(connection);
  next.release();
  expect(failures).toHaveLength(1);
});

test("a connection is replaced where the server takes no more than there are", async () => {
  await using login = await createLogin(database, "gomemory_reader");
  await database.pool.query(`alter role ${new URL(login.url).username} connection limit 2`);
  await using busy = openNoting(login.url, 4, 100);
  const load = startLoad(busy.statuses, reqId);
  const seen = new Set<number>();
  await expect
    .poll(async () => {
      for (const pid of await backends()) seen.add(pid);
      return seen.size;
    })
    .toBeGreaterThan(6);
  await load.end();
});

test("a connection that a reader keeps, and does not use, is closed once another one replaces it", async () => {
  await using connections = openTestConnections(database.url, 2);
  const reader = createReader(connections);
  await reader.start(statusQueries(connections.db).none).rows;
  expect(connections.state()).toMatchObject({ open: 1, idle: 0 });
  const [kept] = await backends();
  connections.changeUrl(database.url);
  await expect.poll(backends).not.toContain(kept);
  reader.releaseConnections();
});

test("the host's name is resolved anew: connections follow a change of DNS", async () => {
  await using before = await startForward("127.0.0.1", 0);
  await using after = await startForward("127.0.0.2", before.port);
  let address = "127.0.0.1";
  resolve = () => address;
  const url = new URL(database.url);
  url.host = `moving.invalid:${before.port}`;
  url.search = "?target_session_attrs=read-write";
  await using busy = openNoting(url.href, 2, 100);
  const load = startLoad(busy.statuses, reqId);
  await expect.poll(() => before.connections).toBe(2);
  address = "127.0.0.2";
  await expect.poll(() => [before.connections, after.connections]).toEqual([0, 2]);
  await load.end();
  expect(busy.errors).toEqual([]);
});

test("without an age, connections stay", async () => {
  await using connections = openTestConnections(database.url, 1);
  const connection = await connections.take();
  connection.release();
  expect(await connections.take()).toBe(connection);
  connection.release();
});
