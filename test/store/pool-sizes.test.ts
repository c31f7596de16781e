import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseReqId } from "../../src/status/req-id.ts";
import { type Database, openDatabase } from "../../src/store/database.ts";
import { createReader } from "../../src/store/reads/reader.ts";
import { statusQueries } from "../../src/store/reads/status-query.ts";
import { startTestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { startLoad } from "../support/load.ts";
import { lockTable } from "../support/lock.ts";
import { startProxy } from "../support/proxy.ts";
import { createLogin } from "../support/roles.ts";
import { insertJob } from "../support/rows.ts";
import { callWithin, newReqId, openTestConnections, poolOptions, wordsOf } from "../support/store.ts";

let database: TestDatabase;
let reqId: string;

beforeAll(async () => {
  database = await createDatabase();
  reqId = await insertJob(database.db, { status: "success" });
});

afterAll(() => database[Symbol.asyncDispose]());

function open(url: string, size: number): Database {
  return openDatabase({
    url,
    size,
    maxInFlight: size,
    flushAt: 1,
    ...poolOptions,
    onBreaker(cause) {
      if (cause !== undefined) throw cause;
    },
  });
}

describe.for([1, 2, 3])("with a pool of %d", (size) => {
  test.for([
    0, 30,
  ])("neither probes nor calls starve while readers are busy, with a database %d ms away", async (delay) => {
    await using proxy = await startProxy(database.url);
    proxy.disturb({ delay: delay / 2 });
    await using busy = open(proxy.url, size);
    const load = startLoad(busy.statuses, reqId);
    for (let n = 0; n < 12; n++) await busy.probe(AbortSignal.timeout(5_000));
    expect(await load.end()).toBeGreaterThan(0);
  });
});

test.for([
  1, 2, 3,
])("calls that wait do not starve while readers are busy, with a pool of %d", async (size) => {
  await using busy = open(database.url, size);
  const load = startLoad(busy.statuses, reqId);
  for (let n = 0; n < 12; n++) {
    const reqIds = Array.from({ length: 600 }, newReqId);
    const outcomes = await Promise.all([
      busy.statuses.poll(reqIds, callWithin()),
      busy.statuses.findMany(reqIds, callWithin()),
    ]);
    for (const each of outcomes) expect(new Set(wordsOf(each))).toEqual(new Set(["none"]));
  }
  expect(await load.end()).toBeGreaterThan(0);
});

// After a connection was refused for a CONNECTION LIMIT, its statement waited for one that was kept, until its deadline.
test("what begins to wait for a connection gets the one that a reader keeps for its next statement", async () => {
  await using connections = openTestConnections(database.url, 1);
  const reader = createReader(connections);
  const read = () => reader.start(statusQueries(connections.db).byIds([parseReqId(reqId)])).rows;
  expect(await read()).toHaveLength(1);
  const taken = await connections.take();
  const next = read();
  taken.release();
  expect(await next).toHaveLength(1);
  reader.releaseConnections();
});

test("readers and probes that wait for a connection get it in turn, whatever the time to open one", async () => {
  await using lock = await lockTable(database);
  await using single = open(database.url, 1);
  const first = single.statuses.find(parseReqId(reqId), callWithin());
  await lock.blocks(1);
  const probe = single.probe(AbortSignal.timeout(10_000));
  const next = single.statuses.find(newReqId(), callWithin());
  // Longer than the connect timeout, which does not count for what waits for a connection that is in use.
  await database.pool.query("select pg_sleep($1)", [(poolOptions.connectTimeout * 1.5) / 1_000]);
  await lock[Symbol.asyncDispose]();
  expect(await first).toMatchObject({ status: "success" });
  await probe;
  expect(await next).toBeUndefined();
});

test.for([
  1, 3,
])("a role with CONNECTION LIMIT %d below the pool's size costs neither readiness nor calls", async (limit) => {
  await using login = await createLogin(database, "gomemory_reader");
  await database.pool.query(`alter role ${new URL(login.url).username} connection limit ${limit}`);
  await using app = await startTestApp({
    DATABASE_URL: login.url,
    BATCHES_IN_FLIGHT: "8",
    BATCH_FLUSH_AT: "1",
    REQUEST_TIMEOUT: "20s",
    DATABASE_CONNECT_TIMEOUT: "10s",
  });
  // While they are held back by the lock, each statement needs a connection.
  await using lock = await lockTable(database);
  const calls = Array.from({ length: 40 }, () => fetch(`${app.url}/get_status/${reqId}`));
  await lock.blocks(limit);
  await lock[Symbol.asyncDispose]();
  for (const call of calls) expect((await call).status).toBe(200);
  expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
  const said = app.logs.filter(({ msg }) => String(msg).startsWith("the database gives fewer connections"));
  expect(said).toEqual([expect.objectContaining({ level: "warn" })]);
  expect(JSON.stringify(app.logs)).not.toContain("the database is gone");
});
