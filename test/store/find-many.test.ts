import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { datastoreUnavailable } from "../../src/status/errors.ts";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import type { StatusStore } from "../../src/status/status-store.ts";
import type { Connections } from "../../src/store/connections/connections.ts";
import { createStatusStore, type StatusStoreOptions } from "../../src/store/reads/status-store.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable, type TableLock } from "../support/lock.ts";
import { insertJob, insertPending } from "../support/rows.ts";
import { callWithin, newReqId, openTestConnections, wordsOf } from "../support/store.ts";

let database: TestDatabase;
let connections: Connections;
/** How many ids each statement of the test asked for. */
let statements: number[];

beforeAll(async () => {
  // Text that is no UTF-8 can be stored in it, and cannot be read by a session in UTF-8.
  database = await createDatabase({ encoding: "SQL_ASCII" });
  connections = openTestConnections(database.url);
});

afterAll(async () => {
  await connections[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

function openStore(options: StatusStoreOptions = {}) {
  statements = [];
  return createStatusStore(connections, { onStatement: (ids) => statements.push(ids), ...options });
}

async function insert(status: "success" | "processing" | "pending"): Promise<ReqId> {
  return parseReqId(await insertJob(database.db, { status }));
}

async function insertUndecodable(): Promise<ReqId> {
  const reqId = newReqId();
  await database.pool.query(
    `insert into memory_job (req_id, status, error) values ('${reqId}', 'failure', E'Z\\xfcrich')`,
  );
  return reqId;
}

test("the outcomes come in the order of the ids, and an id that is given twice is read once", async () => {
  const [success, pending, unknown] = [await insert("success"), await insert("pending"), newReqId()];
  const outcomes = await openStore().findMany([unknown, success, pending, success, unknown], callWithin());
  expect([...outcomes.keys()]).toEqual([unknown, success, pending]);
  expect(wordsOf(outcomes)).toEqual(["none", "success", "pending"]);
  expect(statements).toEqual([3]);
});

test("no ids have no outcomes", async () => {
  expect(await openStore().findMany([], callWithin())).toEqual(new Map());
  expect(statements).toEqual([]);
});

test("a row that cannot be decoded is the outcome of its own id alone", async () => {
  const [good, bad, other] = [await insert("success"), await insertUndecodable(), await insert("processing")];
  const outcomes = await openStore().findMany([good, bad, newReqId(), other], callWithin());
  expect(wordsOf(outcomes)).toEqual(["success", "STATUS_UNREADABLE", "none", "processing"]);
});

test("calls for several ids share a statement, which is not that of lookups", async () => {
  const [shared, own] = [await insert("success"), await insert("pending")];
  const store = openStore();
  const [outcomes, others, status] = await Promise.all([
    store.findMany([shared, own], callWithin()),
    store.findMany([shared], callWithin()),
    store.find(shared, callWithin()),
  ]);
  expect(wordsOf(outcomes)).toEqual(["success", "pending"]);
  expect(wordsOf(others)).toEqual(["success"]);
  expect(status?.status).toBe("success");
  expect(statements).toEqual([1, 2]);
});

test("1,000 ids take one statement, and none is shed though fewer may be queued", async () => {
  const reqIds = (await insertPending(database.db, 1_000)).map((id) => parseReqId(id));
  const outcomes = await openStore({ maxQueued: 512 }).findMany(reqIds, callWithin());
  expect([...outcomes.keys()]).toEqual(reqIds);
  expect(new Set(wordsOf(outcomes))).toEqual(new Set(["pending"]));
  expect(statements).toEqual([1_000]);
});

test("the ids of a call that do not fit into the statement of another have one of their own", async () => {
  const store = openStore({ maxQueued: 2_000 });
  await Promise.all(
    [400, 400, 400].map((count) => store.findMany(Array.from({ length: count }, newReqId), callWithin())),
  );
  expect(statements).toEqual([800, 400]);
});

/** Has the store send as many statements for calls with several ids as it may, all of which the lock holds back. */
async function fill(store: StatusStore, lock: TableLock) {
  const first = store.findMany([newReqId()], callWithin());
  await lock.blocks(1);
  const second = store.findMany([newReqId()], callWithin());
  await lock.blocks(2);
  return [first, second];
}

test("beside another call for several ids, those beyond half of MAX_QUEUED are OVERLOADED, and the others are read", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ maxQueued: 6 });
  const running = await fill(store, lock);
  const alone = store.findMany([newReqId()], callWithin());
  const beside = store.findMany([1, 2, 3, 4].map(newReqId), callWithin());
  const beyond = store.findMany([newReqId()], callWithin());
  await lock[Symbol.asyncDispose]();
  await Promise.all(running);
  expect(wordsOf(await alone)).toEqual(["none"]);
  expect(wordsOf(await beside)).toEqual(["none", "none", "OVERLOADED", "OVERLOADED"]);
  expect(wordsOf(await beyond)).toEqual(["OVERLOADED"]);
});

test("a call is not shed, however many ids it has, while lookups and calls that wait fill the queue", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ maxInFlight: 1, maxQueued: 1 });
  const running = await fill(store, lock);
  const lookups = [store.find(newReqId(), callWithin())];
  await lock.blocks(3);
  lookups.push(store.find(newReqId(), callWithin()));
  await expect(store.find(newReqId(), callWithin())).rejects.toMatchObject({ limit: "MAX_QUEUED" });
  const polled = store.poll(Array.from({ length: 300 }, newReqId), callWithin());
  const many = store.findMany(Array.from({ length: 300 }, newReqId), callWithin());
  await lock[Symbol.asyncDispose]();
  await Promise.all([...running, ...lookups, polled]);
  expect(new Set(wordsOf(await many))).toEqual(new Set(["none"]));
});

test("a cancelled call rejects with its reason and cancels its statement", async () => {
  await using lock = await lockTable(database);
  const call = callWithin();
  const many = openStore().findMany([newReqId(), newReqId()], call);
  await lock.blocks(1);
  const reason = new Error("the caller has gone");
  call.cancel(reason);
  await expect(many).rejects.toBe(reason);
  await lock.blocksCalls(0);
});

test("a cancelled call leaves another call that shares its statement alone", async () => {
  const reqId = await insert("success");
  await using lock = await lockTable(database);
  const [store, cancelled] = [openStore(), callWithin()];
  const calls = [cancelled, callWithin()].map((call) => store.findMany([newReqId(), reqId], call));
  const other = expect(calls[0]).rejects.toThrow("gone");
  await lock.blocks(1);
  cancelled.cancel(new Error("gone"));
  await other;
  await lock.blocks(1);
  await lock[Symbol.asyncDispose]();
  expect(wordsOf((await calls[1]) ?? new Map())).toEqual(["none", "success"]);
});

test("a call that was cancelled before it came is not asked for", async () => {
  const call = callWithin();
  call.cancel(new Error("too late"));
  await expect(openStore().findMany([newReqId()], call)).rejects.toThrow("too late");
  expect(statements).toEqual([]);
});

test("once the deadline has passed, what was read until then is returned, and the rest is DEADLINE_EXCEEDED", async () => {
  await using two = openTestConnections(database.url, 2);
  const [read, late] = [await insert("success"), newReqId()];
  const reqIds = [read, ...Array.from({ length: 999 }, newReqId), late];
  await using lock = await lockTable(database);
  const sent: number[] = [];
  // Of two connections, one is left to lookups.
  const store = createStatusStore(two, { onStatement: (ids) => sent.push(ids) });
  const call = callWithin();
  const many = store.findMany(reqIds, call);
  await lock.blocks(1);
  // Queued behind the first statement, and before the second one, which is sent when the first has ended.
  const next = lockTable(database);
  await lock.blocks(2);
  await lock[Symbol.asyncDispose]();
  await using held = await next;
  await held.blocks(1);
  expect(sent).toEqual([1_000, 1]);
  call.deadline = performance.now();
  const outcomes = await many;
  expect(outcomes.get(read)).toMatchObject({ status: "success" });
  expect(outcomes.get(late)).toMatchObject({ reason: "DEADLINE_EXCEEDED" });
});

test("a call whose deadline has passed is not asked for", async () => {
  const outcomes = await openStore().findMany([newReqId(), newReqId()], callWithin(0));
  expect(wordsOf(outcomes)).toEqual(["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"]);
  expect(statements).toEqual([]);
});

test("while the breaker is open, each outcome is its error", async () => {
  const refusal = datastoreUnavailable(new Error("connect ECONNREFUSED"));
  const breaker = { refusal, sent() {}, answered() {}, failed() {}, check() {} };
  // A queue without room would be the reason otherwise.
  const outcomes = await createStatusStore(connections, { maxQueued: 0 }, breaker).findMany(
    [newReqId(), newReqId()],
    callWithin(),
  );
  expect([...outcomes.values()]).toEqual([refusal, refusal]);
});

test("one piece of work is attached to the call, however many ids it has", async () => {
  const call = callWithin();
  const [attach, detach] = [vi.spyOn(call, "attach"), vi.spyOn(call, "detach")];
  await openStore().findMany(Array.from({ length: 300 }, newReqId), call);
  expect(attach).toHaveBeenCalledTimes(1);
  expect(detach.mock.calls).toEqual(attach.mock.calls);
});
