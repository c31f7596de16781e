import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Database, openDatabase } from "../../src/store/database.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { lockTable, type TableLock } from "../support/lock.ts";
import { callWithin, newReqId, poolOptions, wordsOf } from "../support/store.ts";

let database: TestDatabase;
/** How many ids each statement of the test asked for. */
let statements: number[];

beforeAll(async () => {
  database = await createDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

/** @param size of the pool. */
function open(size = 4): Database {
  statements = [];
  return openDatabase({
    url: database.url,
    size,
    maxInFlight: 1,
    ...poolOptions,
    onStatement: (ids) => statements.push(ids),
    onBreaker(cause) {
      if (cause !== undefined) throw cause;
    },
  });
}

const newReqIds = (count: number) => Array.from({ length: count }, newReqId);

test("lookups go first, then calls for several ids, then those that wait", async () => {
  await using opened = open();
  const { statuses } = opened;
  await Promise.all([
    statuses.poll(newReqIds(3), callWithin()),
    statuses.findMany(newReqIds(2), callWithin()),
    statuses.find(newReqId(), callWithin()),
  ]);
  expect(statements).toEqual([1, 2, 3]);
});

test("a full bulk read is sent at once, but not while a lookup waits to be sent", async () => {
  await using opened = open();
  const { statuses } = opened;
  await using lock = await lockTable(database);
  const reads: Promise<unknown>[] = [statuses.find(newReqId(), callWithin())];
  await lock.blocks(1);
  reads.push(statuses.poll(newReqIds(500), callWithin()));
  expect(statements).toEqual([1, 500]);
  reads.push(statuses.find(newReqId(), callWithin()), statuses.poll(newReqIds(501), callWithin()));
  expect(statements).toEqual([1, 500]);
  await lock[Symbol.asyncDispose]();
  await Promise.all(reads);
});

test("a bulk read that has waited for long is sent, though a lookup waits", async () => {
  await using opened = open();
  const { statuses } = opened;
  await using lock = await lockTable(database);
  const lookups = [statuses.find(newReqId(), callWithin())];
  await lock.blocks(1);
  lookups.push(statuses.find(newReqId(), callWithin()));
  const poll = statuses.poll(newReqIds(2), callWithin());
  await lock.blocks(2);
  expect(statements).toEqual([1, 2]);
  await lock[Symbol.asyncDispose]();
  await Promise.all([...lookups, poll]);
});

test("no more than two bulk statements are in flight", async () => {
  await using opened = open();
  const { statuses } = opened;
  await using lock = await lockTable(database);
  const poll = statuses.poll(newReqIds(2_000), callWithin());
  await lock.blocks(2);
  const lookup = statuses.find(newReqId(), callWithin());
  // It is sent, and nothing else is.
  await lock.blocks(3);
  expect(statements).toEqual([500, 500, 1]);
  await lock[Symbol.asyncDispose]();
  expect((await poll).size).toBe(2_000);
  expect(await lookup).toBeUndefined();
});

/** Stops the backend whose statement waits for the lock, and releases the lock. Disposing lets the backend go on. */
async function stopBackend(lock: TableLock): Promise<Disposable> {
  const [pid] = (await lock.blocks(1)) as [number];
  process.kill(pid, "SIGSTOP");
  const stopped = { [Symbol.dispose]: () => void process.kill(pid, "SIGCONT") };
  try {
    await lock[Symbol.asyncDispose]();
    return stopped;
  } catch (error) {
    stopped[Symbol.dispose]();
    throw error;
  }
}

describe.for(["poll", "findMany"] as const)("a statement of %s that hangs", (method) => {
  test("holds up no lookup, with two connections", async () => {
    await using opened = open(2);
    const { statuses } = opened;
    await using lock = await lockTable(database);
    const hanging = statuses[method](newReqIds(2), callWithin());
    {
      using _stopped = await stopBackend(lock);
      for (let n = 0; n < 20; n++) expect(await statuses.find(newReqId(), callWithin())).toBeUndefined();
    }
    expect(wordsOf(await hanging)).toEqual(["none", "none"]);
  });

  test("holds up no other bulk read, with three connections", async () => {
    await using opened = open(3);
    const { statuses } = opened;
    await using lock = await lockTable(database);
    const hanging = statuses[method](newReqIds(2), callWithin());
    {
      using _stopped = await stopBackend(lock);
      for (const other of ["poll", "findMany"] as const) {
        expect(wordsOf(await statuses[other]([newReqId()], callWithin()))).toEqual(["none"]);
      }
      expect(await statuses.find(newReqId(), callWithin())).toBeUndefined();
    }
    expect(wordsOf(await hanging)).toEqual(["none", "none"]);
  });

  test("is cancelled at its deadline, and costs its own connection", async () => {
    await using opened = open(2);
    const { statuses } = opened;
    await using lock = await lockTable(database);
    const call = callWithin();
    const hanging = statuses[method](newReqIds(2), call);
    {
      using _stopped = await stopBackend(lock);
      call.deadline = performance.now();
      expect(wordsOf(await hanging)).toEqual(["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"]);
      expect(wordsOf(await statuses[method]([newReqId()], callWithin()))).toEqual(["none"]);
    }
    expect(opened.isUnavailable()).toBe(false);
  });
});
