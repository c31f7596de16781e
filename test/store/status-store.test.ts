import { randomUUID } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Call } from "../../src/status/call.ts";
import { StatusError } from "../../src/status/errors.ts";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import { type Connections, openConnections } from "../../src/store/connections/connections.ts";
import { createStatusStore } from "../../src/store/reads/status-store.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { insertJob } from "../support/rows.ts";

let database: TestDatabase;
let connections: Connections;
let statements: number;

beforeAll(async () => {
  database = await createDatabase();
  connections = openConnections({
    url: database.url,
    size: 4,
    connectTimeout: 1_000,
    onLost: () => {},
  });
});

afterAll(async () => {
  await connections[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

function openStore(options: { flushAt?: number; maxInFlight?: number } = {}) {
  statements = 0;
  return createStatusStore(connections, { ...options, onStatement: () => statements++ });
}

const patiently = (ms = 10_000) => new Call(performance.now() + ms);
const newId = () => parseReqId(randomUUID());

test("calls that wait at the same moment share a statement", async () => {
  const ids = await Promise.all(
    Array.from({ length: 10 }, () => insertJob(database.db, { status: "success" })),
  );
  const store = openStore();
  const answers = await Promise.all(
    [...ids, randomUUID()].map((id) => store.find(parseReqId(id), patiently())),
  );
  expect(answers.map((answer) => answer?.status)).toEqual([...ids.map(() => "success"), undefined]);
  expect(statements).toBe(1);
});

test("every caller gets the answer for its own id, however many ask for however few", async () => {
  const jobs = await Promise.all(
    (["pending", "processing", "success", "failure"] as const).map(async (status) => {
      const error = status === "failure" ? `it broke: ${randomUUID()}` : null;
      return { status, error, reqId: parseReqId(await insertJob(database.db, { status, error })) };
    }),
  );
  const store = openStore();
  await Promise.all(
    Array.from({ length: 1_000 }, async (_, n) => {
      const job = jobs[n % jobs.length];
      if (n % 5 === 0) return expect(await store.find(newId(), patiently())).toBeUndefined();
      const { status, error } = (await store.find(job?.reqId ?? newId(), patiently())) ?? {};
      expect({ status, error }).toEqual({ status: job?.status, error: job?.error ?? undefined });
    }),
  );
  expect(statements).toBeLessThan(100);
});

test("a full batch does not wait for the end of the event loop's turn", async () => {
  const store = openStore({ flushAt: 2, maxInFlight: 10 });
  const finds = [newId(), newId()].map((id) => store.find(id, patiently()));
  expect(statements).toBe(1);
  await Promise.all(finds);
});

test("no more statements are in flight than allowed: what comes meanwhile shares the next", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ flushAt: 1, maxInFlight: 2 });
  const finds = Array.from({ length: 50 }, () => store.find(newId(), patiently()));
  await lock.blocks(2);
  await lock[Symbol.asyncDispose]();
  await Promise.all(finds);
  expect(statements).toBe(3);
});

test("while a statement is under way, another one leaves as soon as it is full", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ flushAt: 2 });
  const finds = [store.find(newId(), patiently())];
  await lock.blocks(1);
  finds.push(store.find(newId(), patiently()), store.find(newId(), patiently()));
  expect(statements).toBe(2);
  await lock.blocks(2);
  await lock[Symbol.asyncDispose]();
  expect(await Promise.all(finds)).toEqual([undefined, undefined, undefined]);
});

test("a statement that hangs does not hold up the next one, though that is not full", async () => {
  await using lock = await lockTable(database);
  const store = openStore();
  const hanging = store.find(newId(), patiently());
  await lock.blocks(1);
  const next = store.find(newId(), patiently());
  await lock.blocks(2);
  await lock[Symbol.asyncDispose]();
  expect(await Promise.all([hanging, next])).toEqual([undefined, undefined]);
});

test("a call that is cancelled, or late, leaves the others of its statement alone", async () => {
  const reqId = parseReqId(await insertJob(database.db));
  const gone = new Error("the caller has gone");
  const calls = { cancelled: patiently(), late: patiently(30), patient: patiently() };
  await using lock = await lockTable(database);
  const store = openStore();
  const cancelled = store.find(reqId, calls.cancelled);
  const late = store.find(reqId, calls.late);
  const patient = store.find(reqId, calls.patient);
  await lock.blocks(1);
  calls.cancelled.cancel(gone);
  await expect(cancelled).rejects.toBe(gone);
  await expect(late).rejects.toMatchObject({ reason: "DEADLINE_EXCEEDED" });
  await lock[Symbol.asyncDispose]();
  expect(await patient).toMatchObject({ status: "pending" });
  expect(statements).toBe(1);
});

test("a call that was cancelled before it came is not asked for", async () => {
  const call = patiently();
  call.cancel(new Error("too late"));
  await expect(openStore().find(newId(), call)).rejects.toThrow("too late");
  expect(statements).toBe(0);
});

test("what callers have cancelled is not counted, however many asked for the same id", async () => {
  const counted: number[] = [];
  const store = createStatusStore(connections, { onStatement: (ids) => counted.push(ids) });
  const reqId = newId();
  const patient = store.find(reqId, patiently());
  const cancelled = [...Array<ReqId>(20_000).fill(reqId), newId()].map((id) => {
    const call = patiently();
    const answer = store.find(id, call);
    call.cancel(new Error("gone"));
    return answer;
  });
  await Promise.allSettled(cancelled);
  expect(await patient).toBeUndefined();
  expect(counted).toEqual([1]);
});

test("a call whose deadline has passed is not asked for", async () => {
  await expect(openStore().find(newId(), patiently(0))).rejects.toMatchObject({
    reason: "DEADLINE_EXCEEDED",
  });
  expect(statements).toBe(0);
});

test("a call whose deadline passes while it waits for its turn is not asked for", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ maxInFlight: 1 });
  const first = store.find(newId(), patiently());
  await lock.blocks(1);
  await expect(store.find(newId(), patiently(20))).rejects.toMatchObject({ reason: "DEADLINE_EXCEEDED" });
  await lock[Symbol.asyncDispose]();
  await first;
  expect(statements).toBe(1);
});

test("a statement for which nobody waits any more is cancelled in the database, and its place is free", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ maxInFlight: 1 });
  const call = patiently();
  const find = store.find(newId(), call);
  await lock.blocks(1);
  call.cancel(new Error("gone"));
  await expect(find).rejects.toThrow("gone");
  await lock.blocks(0);
  await lock[Symbol.asyncDispose]();
  expect(await store.find(newId(), patiently())).toBeUndefined();
});

test("a statement that does not heed its cancellation loses its connection", async () => {
  await using lock = await lockTable(database);
  const store = openStore();
  const call = patiently();
  const find = store.find(newId(), call);
  const [backend] = await lock.blocks(1);
  // Stopped, a backend hears nothing: neither the cancellation nor that its client has left.
  process.kill(Number(backend), "SIGSTOP");
  const { open } = connections.state();
  call.cancel(new Error("gone"));
  await expect(find).rejects.toThrow("gone");
  await expect.poll(() => connections.state().open, { interval: 10 }).toBe(open - 1);
  process.kill(Number(backend), "SIGCONT");
});

test("a failed statement is each caller's DATASTORE_UNAVAILABLE, with the cause for the log", async () => {
  const failures: unknown[] = [];
  const store = createStatusStore(connections, { onFailure: (error) => failures.push(error) });
  await using lock = await lockTable(database);
  const reqId = newId();
  const finds = [reqId, reqId].map((id) => store.find(id, patiently()));
  const settled = Promise.allSettled(finds);
  const [backend] = await lock.blocks(1);
  await database.pool.query("select pg_cancel_backend($1)", [backend]);
  for (const result of await settled) {
    expect(result).toMatchObject({ status: "rejected", reason: { reason: "DATASTORE_UNAVAILABLE" } });
    const { reason } = result as PromiseRejectedResult;
    expect(reason).toBeInstanceOf(StatusError);
    expect((reason as StatusError).message).not.toMatch(/cancel|select|127\.0\.0\.1/);
    expect((reason as StatusError).cause).toBeInstanceOf(pg.DatabaseError);
  }
  expect(failures).toHaveLength(1);
  await lock[Symbol.asyncDispose]();
  expect(await store.find(newId(), patiently())).toBeUndefined();
});

test("a statement whose connection is lost is run once more on another, and not a third time", async () => {
  const told = { failures: 0, retries: 0 };
  const store = createStatusStore(connections, {
    onFailure: () => told.failures++,
    onRetry: () => told.retries++,
  });
  const reqId = parseReqId(await insertJob(database.db));
  await using lock = await lockTable(database);
  // Returns when the backend has ended, so that the next one that waits is another.
  const terminate = async () => {
    const [backend] = await lock.blocks(1);
    await database.pool.query("select pg_terminate_backend($1, 5000)", [backend]);
  };

  const unlucky = expect(store.find(reqId, patiently())).rejects.toMatchObject({
    reason: "DATASTORE_UNAVAILABLE",
  });
  await terminate();
  await terminate();
  await unlucky;
  expect(told).toEqual({ failures: 1, retries: 1 });

  const lucky = Promise.all([reqId, newId()].map((id) => store.find(id, patiently())));
  await terminate();
  await lock[Symbol.asyncDispose]();
  expect(await lucky).toMatchObject([{ status: "pending" }, undefined]);
  expect(told).toEqual({ failures: 1, retries: 2 });
});
