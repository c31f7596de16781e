import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import { getStatusCalls, type RawCall } from "../support/calls.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { startAsking } from "../support/hang-up.ts";
import { lockTable } from "../support/lock.ts";

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

/** Has the service use several connections at once. @returns the pids of their backends. */
async function useConnections(app: TestApp, count: number): Promise<number[]> {
  await using lock = await lockTable(database);
  const calls = Array.from({ length: count }, () => fetch(`${app.url}/get_status/${randomUUID()}`));
  const pids = await lock.blocks(count);
  await lock[Symbol.asyncDispose]();
  for (const call of calls) expect((await call).headers.get("error-reason")).toBe("STATUS_NOT_FOUND");
  return pids;
}

test("a statement that does not heed its cancellation costs its own connection, and no other", async () => {
  await using app = await startTestApp({
    DATABASE_URL: database.url,
    BATCHES_IN_FLIGHT: "6",
    BATCH_FLUSH_AT: "1",
    REQUEST_TIMEOUT: "20s",
  });
  const before = await useConnections(app, 6);

  await using lock = await lockTable(database);
  const stopped = startAsking(getStatusCalls(randomUUID())[0] as RawCall, app.url);
  const [pid] = (await lock.blocks(1)) as [number];
  // A stopped backend notices neither the cancellation nor that its client has closed the connection.
  process.kill(pid, "SIGSTOP");
  try {
    stopped.hangUp();
    await stopped.closed;
    await lock[Symbol.asyncDispose]();
    const open = async () =>
      /^db_client_connections_open (\d+)$/m.exec(await (await fetch(`${app.url}/metrics`)).text())?.[1];
    await expect.poll(open, { interval: 20, timeout: 10_000 }).toBe("5");
    // The stopped backend has its lock on the table, so that no other can be held back there.
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => fetch(`${app.url}/get_status/${randomUUID()}`)),
    );
    for (const { headers } of answers) expect(headers.get("error-reason")).toBe("STATUS_NOT_FOUND");
    const { rows } = await database.pool.query<{ pid: number }>(
      "select pid from pg_stat_activity where datname = current_database() and application_name like 'gomemory-status@%'",
    );
    expect(rows.map((row) => row.pid)).toEqual(expect.arrayContaining(before));
  } finally {
    process.kill(pid, "SIGCONT");
  }
});
