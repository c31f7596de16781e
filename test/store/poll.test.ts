import { afterAll, beforeAll, expect, test } from "vitest";
import { datastoreUnavailable, StatusError } from "../../src/status/errors.ts";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import type { PolledStatus, PollOutcome } from "../../src/status/status-store.ts";
import type { Connections } from "../../src/store/connections/connections.ts";
import { createStatusStore, type StatusStoreOptions } from "../../src/store/reads/status-store.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
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

function openStore(options: StatusStoreOptions = {}, to = connections) {
  statements = [];
  return createStatusStore(to, { onStatement: (ids) => statements.push(ids), ...options });
}

const newReqIds = (count: number) => Array.from({ length: count }, newReqId);

/** @param values of status, error, created_at and updated_at, as SQL. */
async function insert(values: string): Promise<ReqId> {
  const reqId = newReqId();
  await database.pool.query(
    `insert into memory_job (req_id, status, error, created_at, updated_at) values ('${reqId}', ${values})`,
  );
  return reqId;
}

function toPolled(outcome: PollOutcome): PolledStatus {
  if (outcome === undefined || outcome instanceof StatusError)
    throw new Error("no status", { cause: outcome });
  return outcome;
}

/** @returns how long ago a row was created and changed, in milliseconds, by the database's clock. */
async function agesOf(reqId: ReqId): Promise<[age: number, sinceUpdate: number]> {
  const { rows } = await database.pool.query<{ age: string; since_update: string }>(
    `select extract(epoch from clock_timestamp() - created_at) * 1000 as age,
       extract(epoch from clock_timestamp() - updated_at) * 1000 as since_update
     from memory_job where req_id = '${reqId}'`,
  );
  return [Number(rows[0]?.age), Number(rows[0]?.since_update)];
}

test.for([
  1, 3, 20,
])("the age and the time since the update are by the database's clock: %i ids", async (count) => {
  // date_part() alone would have one digit.
  await using rounding = openTestConnections(`${database.url}?options=-c%20extra_float_digits%3D-15`, 1);
  const reqId = await insert(
    "'processing', null, now() - interval '23 hours', now() - interval '0.25 seconds'",
  );
  const before = await agesOf(reqId);
  const outcomes = await openStore({}, rounding).poll([reqId, ...newReqIds(count - 1)], callWithin());
  const after = await agesOf(reqId);
  const { status, age, sinceUpdate } = toPolled(outcomes.get(reqId));
  expect(status).toBe("processing");
  expect(wordsOf(outcomes).slice(1)).toEqual(Array(count - 1).fill("none"));
  // Rounded to milliseconds.
  expect(age).toBeGreaterThanOrEqual(before[0] - 1);
  expect(age).toBeLessThanOrEqual(after[0] + 1);
  expect(sinceUpdate).toBeGreaterThanOrEqual(before[1] - 1);
  expect(sinceUpdate).toBeLessThanOrEqual(after[1] + 1);
});

test("a row whose updated_at is infinite is read, as one that was just changed", async () => {
  const [reqId, other] = [
    await insert("'pending', null, now(), 'infinity'"),
    await insert("'success', null, now(), '-infinity'"),
  ];
  const outcomes = await openStore().poll([reqId, other], callWithin());
  expect([...outcomes.values()]).toMatchObject([
    { status: "pending", sinceUpdate: 0 },
    { status: "success", sinceUpdate: 0 },
  ]);
  expect(statements).toEqual([2]);
});

test("a failure has its error, and an expired status is none", async () => {
  const failure = await insert("'failure', 'it broke', now(), now()");
  const expired = await insert("'success', null, now() - interval '24 hours 1 second', now()");
  const outcomes = await openStore().poll([failure, expired, newReqId(), failure], callWithin());
  expect([...outcomes.keys()]).toHaveLength(3);
  expect(wordsOf(outcomes)).toEqual(["failure", "none", "none"]);
  expect(outcomes.get(failure)).toMatchObject({ error: "it broke" });
});

test("1,000 calls for one id each, in one turn of the event loop, take two statements", async () => {
  const reqIds = (await insertPending(database.db, 1_000)).map((id) => parseReqId(id));
  const store = openStore();
  const outcomes = await Promise.all(reqIds.map((reqId) => store.poll([reqId], callWithin())));
  expect(outcomes.map((each) => [...each.keys()])).toEqual(reqIds.map((reqId) => [reqId]));
  expect(new Set(outcomes.flatMap(wordsOf))).toEqual(new Set(["pending"]));
  expect(statements).toEqual([500, 500]);
});

test("a statement asks for 500 ids at most", async () => {
  const outcomes = await openStore().poll(newReqIds(1_200), callWithin());
  expect(outcomes.size).toBe(1_200);
  expect(statements).toEqual([500, 500, 200]);
});

test("no id is shed while lookups fill the queue", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ maxInFlight: 1, maxQueued: 1 });
  const lookups = [store.find(newReqId(), callWithin())];
  await lock.blocks(1);
  lookups.push(store.find(newReqId(), callWithin()));
  await expect(store.find(newReqId(), callWithin())).rejects.toMatchObject({ limit: "MAX_QUEUED" });
  const polls = [store.poll(newReqIds(600), callWithin()), store.poll(newReqIds(600), callWithin())];
  await lock[Symbol.asyncDispose]();
  for (const poll of polls) expect(new Set(wordsOf(await poll))).toEqual(new Set(["none"]));
  await Promise.all(lookups);
});

test("while the breaker is open, each outcome is its error, and no statement is sent", async () => {
  statements = [];
  const refusal = datastoreUnavailable(new Error("connect ECONNREFUSED"));
  const breaker = { refusal, sent() {}, answered() {}, failed() {}, check() {} };
  const options = { onStatement: (ids: number) => statements.push(ids) };
  const outcomes = await createStatusStore(connections, options, breaker).poll(newReqIds(2), callWithin());
  expect([...outcomes.values()]).toEqual([refusal, refusal]);
  expect(statements).toEqual([]);
});

test("a row that cannot be decoded is the outcome of its own id alone", async () => {
  const good = parseReqId(await insertJob(database.db, { status: "success" }));
  const bad = await insert("'failure', E'Z\\xfcrich', now(), now()");
  const outcomes = await openStore().poll([good, bad, newReqId()], callWithin());
  expect(wordsOf(outcomes)).toEqual(["success", "STATUS_UNREADABLE", "none"]);
});

test("once the deadline has passed, what is not read is DEADLINE_EXCEEDED", async () => {
  await using lock = await lockTable(database);
  const call = callWithin();
  const poll = openStore().poll(newReqIds(2), call);
  await lock.blocks(1);
  call.deadline = performance.now();
  expect(wordsOf(await poll)).toEqual(["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"]);
  await lock.blocksCalls(0);
});

test("a cancelled call rejects with its reason, and leaves another that shares its statement alone", async () => {
  await using lock = await lockTable(database);
  const [store, cancelled] = [openStore(), callWithin()];
  const polls = [cancelled, callWithin()].map((call) => store.poll(newReqIds(2), call));
  const rejected = expect(polls[0]).rejects.toThrow("gone");
  await lock.blocks(1);
  cancelled.cancel(new Error("gone"));
  await rejected;
  await lock[Symbol.asyncDispose]();
  expect(wordsOf((await polls[1]) ?? new Map())).toEqual(["none", "none"]);
  expect(statements).toEqual([4]);
});
