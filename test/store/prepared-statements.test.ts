import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import type { PreparedStatementsOptions } from "../../src/store/reads/prepared-statements.ts";
import { nameOf } from "../../src/store/reads/statement-messages.ts";
import { createStatusStore } from "../../src/store/reads/status-store.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { insertJob } from "../support/rows.ts";
import { callWithin, openTestConnections } from "../support/store.ts";

let database: TestDatabase;
let reqId: ReqId;

beforeAll(async () => {
  database = await createDatabase();
  reqId = parseReqId(await insertJob(database.db, { status: "success" }));
});

afterEach(() => void vi.useRealTimers());

afterAll(() => database[Symbol.asyncDispose]());

/** A store whose statements all run on one connection. */
function openStore(options: PreparedStatementsOptions = {}) {
  const connections = openTestConnections(database.url, 1);
  const notKept: unknown[] = [];
  const statuses = createStatusStore(connections, { ...options, onNotKept: (error) => notKept.push(error) });
  return {
    statuses,
    notKept,
    read: async () => (await statuses.find(reqId, callWithin()))?.status,
    /** The statements that the connection has prepared, each with the time of its Parse message. */
    prepared: async (): Promise<{ name: string; statement: string; at: string }[]> =>
      await query("select name, statement, prepare_time::text as at from pg_prepared_statements order by at"),
    query,
    [Symbol.asyncDispose]: () => connections[Symbol.asyncDispose](),
  };

  async function query(sql: string) {
    const connection = await connections.take();
    try {
      return (await connection.query(sql)).rows;
    } finally {
      connection.release();
    }
  }
}

test("a statement is prepared once, under 128 bits of the SHA-256 of its text, and used from then on", async () => {
  await using store = openStore({ longestUse: Number.POSITIVE_INFINITY });
  for (let n = 0; n < 20; n++) expect(await store.read()).toBe("success");
  const [first, ...others] = await store.prepared();
  expect(others).toEqual([]);
  const digest = createHash("sha256")
    .update(first?.statement ?? "")
    .digest("hex");
  expect(first?.name).toBe(`gomemory_${digest.slice(0, 32)}`);
  expect(nameOf(first?.statement ?? "")).toBe(first?.name);
  expect(await store.read()).toBe("success");
  expect(await store.prepared()).toEqual([first]);
  expect(store.notKept).toEqual([]);
});

test("a statement is prepared anew when it has been used for a second", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  await using store = openStore();
  await store.read();
  const [first] = await store.prepared();
  vi.advanceTimersByTime(999);
  await store.read();
  expect(await store.prepared()).toEqual([first]);
  vi.advanceTimersByTime(1);
  await store.read();
  const [second, ...others] = await store.prepared();
  expect(others).toEqual([]);
  expect(second).toMatchObject({ name: first?.name });
  expect(second?.at).not.toBe(first?.at);
});

test("off: no statement is prepared", async () => {
  await using store = openStore({ preparedStatements: "off" });
  expect(await store.read()).toBe("success");
  expect(await store.prepared()).toEqual([]);
});

test("auto: a statement that is not kept is repeated, and others are unnamed for a minute", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  await using store = openStore();
  await store.read();
  await store.query("deallocate all");
  expect(await store.read()).toBe("success");
  expect(store.notKept).toEqual([expect.objectContaining({ code: "26000" })]);
  vi.advanceTimersByTime(59_999);
  expect(await store.read()).toBe("success");
  expect(await store.prepared()).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(await store.read()).toBe("success");
  expect(await store.prepared()).toHaveLength(1);
  expect(store.notKept).toHaveLength(1);
});

test("on: a statement that is not kept is repeated, and the next one is prepared", async () => {
  await using store = openStore({ preparedStatements: "on" });
  await store.read();
  await store.query("deallocate all");
  expect(await store.read()).toBe("success");
  expect(await store.prepared()).toEqual([]);
  expect(await store.read()).toBe("success");
  expect(await store.prepared()).toHaveLength(1);
  await store.query("deallocate all");
  expect(await store.read()).toBe("success");
  // Reported once a minute: a pooler that keeps none would otherwise fill the log.
  expect(store.notKept).toHaveLength(1);
});

test("a Parse that failed took no effect: the statement is prepared once the table is back", async () => {
  await using store = openStore();
  await database.pool.query("alter table memory_job rename to away");
  try {
    await expect(store.read()).rejects.toMatchObject({ reason: "DATASTORE_UNAVAILABLE" });
    expect(await store.prepared()).toEqual([]);
  } finally {
    await database.pool.query("alter table away rename to memory_job");
  }
  expect(await store.read()).toBe("success");
  expect(await store.prepared()).toHaveLength(1);
  // The read failed by itself, and not for being prepared.
  expect(store.notKept).toEqual([]);
});

test("a Parse that was cancelled before it took effect: the next read is prepared, and answered", async () => {
  await using store = openStore();
  const lock = await lockTable(database);
  const call = callWithin();
  const cancelled = store.statuses.find(reqId, call);
  await lock.blocks(1);
  call.cancel("cancelled by the test");
  await expect(cancelled).rejects.toBe("cancelled by the test");
  // The connection is free again once the server has cancelled the statement.
  expect(await store.prepared()).toEqual([]);
  await lock[Symbol.asyncDispose]();
  expect(await store.read()).toBe("success");
  expect(await store.prepared()).toHaveLength(1);
  expect(store.notKept).toEqual([]);
});

test("a plan that a migration invalidates, since its columns have another type: the read is repeated", async () => {
  await using altered = await createDatabase();
  const id = parseReqId(await insertJob(altered.db, { status: "success" }));
  await using connections = openTestConnections(altered.url, 1);
  const notKept: unknown[] = [];
  const statuses = createStatusStore(connections, { onNotKept: (error) => notKept.push(error) });
  expect(await statuses.find(id, callWithin())).toMatchObject({ status: "success" });
  await altered.pool.query("alter table memory_job alter column status type varchar(20)");
  expect(await statuses.find(id, callWithin())).toMatchObject({ status: "success" });
  expect(notKept).toEqual([expect.objectContaining({ code: "0A000" })]);
});
