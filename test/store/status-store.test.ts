import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { StatusError } from "../../src/status/errors.ts";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import type { Connections } from "../../src/store/connections/connections.ts";
import { createStatusStore } from "../../src/store/reads/status-store.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable } from "../support/lock.ts";
import { insertJob } from "../support/rows.ts";
import { callWithin, newReqId, openTestConnections } from "../support/store.ts";

let database: TestDatabase;
let connections: Connections;
let statements: number;

beforeAll(async () => {
  database = await createDatabase();
  connections = openTestConnections(database.url);
});

afterAll(async () => {
  await connections[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

function openStore(options: { flushAt?: number; maxInFlight?: number } = {}) {
  statements = 0;
  return createStatusStore(connections, { ...options, onStatement: () => statements++ });
}

test("calls that wait at the same moment share a statement", async () => {
  const ids = await Promise.all(
    Array.from({ length: 10 }, () => insertJob(database.db, { status: "success" })),
  );
  const store = openStore();
  const answers = await Promise.all(
    [...ids, newReqId()].map((id) => store.find(parseReqId(id), callWithin())),
  );
  expect(answers.map((answer) => answer?.status)).toEqual([...ids.map(() => "success"), undefined]);
  expect(statements).toBe(1);
});

test("each of 1,000 calls gets the answer for its own id, though they ask for few", async () => {
  const jobs = await Promise.all(
    (["pending", "processing", "success", "failure"] as const).map(async (status) => {
      const error = status === "failure" ? `it broke: ${newReqId()}` : null;
      return { status, error, reqId: parseReqId(await insertJob(database.db, { status, error })) };
    }),
  );
  const store = openStore();
  await Promise.all(
    Array.from({ length: 1_000 }, async (_, n) => {
      const job = jobs[n % jobs.length];
      if (n % 5 === 0) return expect(await store.find(newReqId(), callWithin())).toBeUndefined();
      const { status, error } = (await store.find(job?.reqId ?? newReqId(), callWithin())) ?? {};
      expect({ status, error }).toEqual({ status: job?.status, error: job?.error ?? undefined });
    }),
  );
  expect(statements).toBeLessThan(100);
});

test("a full batch does not wait for the end of the event loop's turn", async () => {
  const store = openStore({ flushAt: 2, maxInFlight: 10 });
  const finds = [newReqId(), newReqId()].map((id) => store.find(id, callWithin()));
  expect(statements).toBe(1);
  await Promise.all(finds);
});

test("no more statements are in flight than allowed: what comes meanwhile shares the next", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ flushAt: 1, maxInFlight: 2 });
  const finds = Array.from({ length: 50 }, () => store.find(newReqId(), callWithin()));
  await lock.blocks(2);
  await lock[Symbol.asyncDispose]();
  await Promise.all(finds);
  expect(statements).toBe(3);
});

test("while a statement is under way, another one leaves as soon as it is full", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ flushAt: 2 });
  const finds = [store.find(newReqId(), callWithin())];
  await lock.blocks(1);
  finds.push(store.find(newReqId(), callWithin()), store.find(newReqId(), callWithin()));
  expect(statements).toBe(2);
  await lock.blocks(2);
  await lock[Symbol.asyncDispose]();
  expect(await Promise.all(finds)).toEqual([undefined, undefined, undefined]);
});

test("a statement that hangs does not hold up the next one, though that is not full", async () => {
  await using lock = await lockTable(database);
  const store = openStore();
  const hanging = store.find(newReqId(), callWithin());
  await lock.blocks(1);
  const next = store.find(newReqId(), callWithin());
  await lock.blocks(2);
  await lock[Symbol.asyncDispose]();
  expect(await Promise.all([hanging, next])).toEqual([undefined, undefined]);
});

test("a call that is cancelled, or late, leaves the others of its statement alone", async () => {
  const reqId = parseReqId(await insertJob(database.db));
  const gone = new Error("the caller has gone");
  const calls = { cancelled: callWithin(), late: callWithin(30), other: callWithin() };
  await using lock = await lockTable(database);
  const store = openStore();
  const cancelled = store.find(reqId, calls.cancelled);
  const late = expect(store.find(reqId, calls.late)).rejects.toMatchObject({ reason: "DEADLINE_EXCEEDED" });
  const other = store.find(reqId, calls.other);
  await lock.blocks(1);
  calls.cancelled.cancel(gone);
  await expect(cancelled).rejects.toBe(gone);
  await late;
  await lock[Symbol.asyncDispose]();
  expect(await other).toMatchObject({ status: "pending" });
  expect(statements).toBe(1);
});

test("a call that was cancelled before it came is not asked for", async () => {
  const call = callWithin();
  call.cancel(new Error("too late"));
  await expect(openStore().find(newReqId(), call)).rejects.toThrow("too late");
  expect(statements).toBe(0);
});

test("cancelled calls are not counted, also when thousands asked for the same id", async () => {
  const counted: number[] = [];
  const store = createStatusStore(connections, { onStatement: (ids) => counted.push(ids) });
  const reqId = newReqId();
  const waiting = store.find(reqId, callWithin());
  const cancelled = [...Array<ReqId>(20_000).fill(reqId), newReqId()].map((id) => {
    const call = callWithin();
    const answer = store.find(id, call);
    call.cancel(new Error("gone"));
    return answer;
  });
  await Promise.allSettled(cancelled);
  expect(await waiting).toBeUndefined();
  expect(counted).toEqual([1]);
});

test("a call whose deadline has passed is not asked for", async () => {
  await expect(openStore().find(newReqId(), callWithin(0))).rejects.toMatchObject({
    reason: "DEADLINE_EXCEEDED",
  });
  expect(statements).toBe(0);
});

test("a call whose deadline passes while it waits for its turn is not asked for", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ maxInFlight: 1 });
  const first = store.find(newReqId(), callWithin());
  await lock.blocks(1);
  await expect(store.find(newReqId(), callWithin(20))).rejects.toMatchObject({ reason: "DEADLINE_EXCEEDED" });
  await lock[Symbol.asyncDispose]();
  await first;
  expect(statements).toBe(1);
});

test("a statement for which no call waits any more is cancelled in the database, and another may run", async () => {
  await using lock = await lockTable(database);
  const store = openStore({ maxInFlight: 1 });
  const call = callWithin();
  const find = store.find(newReqId(), call);
  await lock.blocks(1);
  call.cancel(new Error("gone"));
  await expect(find).rejects.toThrow("gone");
  await lock.blocksCalls(0);
  await lock[Symbol.asyncDispose]();
  expect(await store.find(newReqId(), callWithin())).toBeUndefined();
});

test("a statement that does not heed its cancellation loses its connection", async () => {
  await using lock = await lockTable(database);
  const store = openStore();
  const call = callWithin();
  const find = store.find(newReqId(), call);
  const [backend] = await lock.blocks(1);
  // A stopped backend notices neither the cancellation nor that its client has closed the connection.
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
  const reqId = newReqId();
  const finds = [reqId, reqId].map((id) => store.find(id, callWithin()));
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
  expect(await store.find(newReqId(), callWithin())).toBeUndefined();
});

test("a statement whose connection is lost is run once more on another, and not a third time", async () => {
  const counts = { failures: 0, retries: 0 };
  const store = createStatusStore(connections, {
    onFailure: () => counts.failures++,
    onRetry: () => counts.retries++,
  });
  const reqId = parseReqId(await insertJob(database.db));
  await using lock = await lockTable(database);
  // Returns when the backend has ended, so that the next one that waits is another.
  const terminate = async () => {
    const [backend] = await lock.blocks(1);
    await database.pool.query("select pg_terminate_backend($1, 5000)", [backend]);
  };

  const failed = expect(store.find(reqId, callWithin())).rejects.toMatchObject({
    reason: "DATASTORE_UNAVAILABLE",
  });
  await terminate();
  await terminate();
  await failed;
  expect(counts).toEqual({ failures: 1, retries: 1 });

  const retried = Promise.all([reqId, newReqId()].map((id) => store.find(id, callWithin())));
  await terminate();
  await lock[Symbol.asyncDispose]();
  expect(await retried).toMatchObject([{ status: "pending" }, undefined]);
  expect(counts).toEqual({ failures: 1, retries: 2 });
});
