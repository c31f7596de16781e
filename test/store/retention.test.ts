import { afterEach, beforeEach, expect, test } from "vitest";
import { openRetention, type PurgeProgress, type Retention } from "../../src/store/jobs/retention.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { insertAged, insertJob } from "../support/rows.ts";
import { poolOptions } from "../support/store.ts";

const hour = 3_600;
const olderThan = 25 * hour * 1_000;
const never = new AbortController().signal;

let database: TestDatabase;
let retention: Retention;

beforeEach(async () => {
  database = await createDatabase();
  retention = openRetention({ url: database.url, ...poolOptions });
});

afterEach(async () => {
  await retention[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

async function idsLeft(): Promise<string[]> {
  const { rows } = await database.pool.query("select req_id from memory_job order by created_at desc");
  return rows.map((row) => row.req_id);
}

test("deletes what is older, whatever its status, and nothing else", async () => {
  const kept = [
    await insertJob(database.db),
    await insertJob(database.db, { age: 24 * hour }),
    await insertJob(database.db, { age: 25 * hour - 60, status: "success" }),
  ];
  for (const status of ["pending", "processing", "success"] as const) {
    await insertJob(database.db, { age: 25 * hour + 60, status });
  }
  await insertJob(database.db, { age: 365 * 24 * hour, status: "failure", error: "x" });
  expect(await retention.purge({ olderThan, batch: 5_000, signal: never })).toEqual({
    outcome: "done",
    purged: 4,
    batches: 1,
  });
  expect(await idsLeft()).toEqual(kept);
});

test("in batches, the oldest first, until one is not full", async () => {
  await insertAged(database.db, 25, 26 * hour);
  const seen: PurgeProgress[] = [];
  const result = await retention.purge({
    olderThan,
    batch: 10,
    signal: never,
    onBatch: (progress) => seen.push(progress),
  });
  expect(result).toEqual({ outcome: "done", purged: 25, batches: 3 });
  expect(seen.map(({ purged, batches }) => [purged, batches])).toEqual([
    [10, 1],
    [20, 2],
    [25, 3],
  ]);
});
