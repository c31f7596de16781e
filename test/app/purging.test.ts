import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startTestApp, type TestApp } from "../support/app.ts";
import type { TestDatabase } from "../support/database.ts";
import { createFolder } from "../support/folder.ts";
import { metricValue } from "../support/metric.ts";
import { startServing } from "../support/process.ts";
import { startProxy } from "../support/proxy.ts";
import { stopAtDelete } from "../support/purge-gate.ts";
import { countJobs, createDatabaseToPurge, startOtherPurger } from "../support/purging.ts";
import { createLogin } from "../support/roles.ts";
import { insertAged } from "../support/rows.ts";

// PURGE=on: the service deletes expired jobs in the background.

const hour = 3_600;

let database: TestDatabase;

beforeEach(async () => {
  database = await createDatabaseToPurge();
});
afterEach(() => database[Symbol.asyncDispose]());

function startPurging(env: Readonly<Record<string, string>> = {}): Promise<TestApp> {
  return startTestApp({ DATABASE_URL: database.url, PURGE: "on", PURGE_INTERVAL: "20ms", ...env });
}

async function metric({ url }: { url: string }, name: string, labels = {}): Promise<number | undefined> {
  return metricValue(await (await fetch(`${url}/metrics`)).text(), name, labels);
}

/** The number of purges that ended so. */
function ended(app: { url: string }, outcome: string): Promise<number | undefined> {
  return metric(app, "status_purge_duration_seconds_count", { outcome });
}

/** It answers, is ready, and has counted some purges that ended so. */
async function expectServing(app: TestApp, outcome: string): Promise<void> {
  await expect.poll(() => ended(app, outcome)).toBeGreaterThan(2);
  expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
  const answer = await fetch(`${app.url}/get_status/${crypto.randomUUID()}`);
  expect(answer.headers.get("error-reason")).toBe("STATUS_NOT_FOUND");
  expect(await metric(app, "status_store_breaker_open")).toBe(0);
}

/** The lines about purges, without their times. */
function linesOf({ logs }: Pick<TestApp, "logs">) {
  return logs.filter(({ msg }) => /purge/.test(String(msg))).map(({ time: _, ...line }) => line);
}

test("what is older than 25 hours is deleted, logged and counted, and nothing else", async () => {
  await using app = await startPurging();
  await expect.poll(() => countJobs(database)).toBe(3);
  const before = await metric(app, "status_purge_last_done_timestamp_seconds");
  await expect
    .poll(() => metric(app, "status_purge_last_done_timestamp_seconds"))
    .toBeGreaterThan(before ?? 0);
  expect(await metric(app, "status_purge_rows_total")).toBe(12);
  expect(await ended(app, "done")).toBeGreaterThan(0);
  for (const outcome of ["busy", "denied", "failed", "stopped"]) expect(await ended(app, outcome)).toBe(0);
  expect(linesOf(app)).toEqual([
    { level: "info", msg: "purged", purged: 12, batches: 1, duration_ms: expect.any(Number) },
  ]);
  expect(await countJobs(database)).toBe(3);
});

test("without PURGE=on, nothing is deleted, and nothing about it is measured", async () => {
  await using app = await startPurging({ PURGE: "off" });
  expect(await (await fetch(`${app.url}/metrics`)).text()).not.toContain("status_purge");
  expect(await countJobs(database)).toBe(15);
});

test("several instances delete each row once, and one that finds another at work logs nothing", async () => {
  await using first = await startPurging();
  await using second = await startPurging();
  await expect.poll(() => countJobs(database)).toBe(3);
  await expect.poll(async () => [await ended(first, "done"), await ended(second, "done")]).not.toContain(0);
  const rows = await Promise.all([first, second].map((app) => metric(app, "status_purge_rows_total")));
  expect((rows[0] ?? 0) + (rows[1] ?? 0)).toBe(12);
  expect([...linesOf(first), ...linesOf(second)].map(({ msg }) => msg)).toEqual(
    expect.not.arrayContaining([expect.stringContaining("cannot")]),
  );
});

test("another purger at work is no error", async () => {
  await using _ = await startOtherPurger(database);
  await using app = await startPurging();
  await expectServing(app, "busy");
  expect(linesOf(app)).toEqual([]);
});

describe("a purge that fails is counted each time, logged once, and concerns nothing else:", () => {
  test("a role that may not", async () => {
    await using login = await createLogin(database, "gomemory_reader");
    await using app = await startPurging({ DATABASE_URL: login.url });
    await expectServing(app, "denied");
    expect(linesOf(app)).toMatchObject([
      {
        level: "error",
        msg: "the service's role may not purge: see docs/operate/retention.md#roles",
        err: { name: "PurgeDenied" },
      },
    ]);
  });

  test("a database that takes no writes", async () => {
    const options = encodeURIComponent("-c default_transaction_read_only=on");
    await using app = await startPurging({ DATABASE_URL: `${database.url}?options=${options}` });
    await expectServing(app, "failed");
    expect(linesOf(app)).toMatchObject([
      { level: "warn", msg: "cannot purge: trying again after PURGE_INTERVAL", err: { code: "25006" } },
    ]);
  });

  test("a schema without the function, until it is there", async () => {
    await database.pool.query("alter function memory_job_purge rename to of_tomorrow");
    await using app = await startPurging();
    await expectServing(app, "failed");
    expect(linesOf(app)).toMatchObject([{ level: "warn", err: { name: "SchemaError" } }]);
    await database.pool.query("alter function of_tomorrow rename to memory_job_purge");
    await expect.poll(() => countJobs(database)).toBe(3);
  });
});

test("a database that is away is purged when it is back", async () => {
  await using proxy = await startProxy(database.url);
  proxy.cut();
  await using app = await startPurging({ DATABASE_URL: proxy.url });
  await expect.poll(() => ended(app, "failed")).toBeGreaterThan(2);
  expect(linesOf(app)).toMatchObject([{ level: "warn", err: { code: "ECONNREFUSED" } }]);
  await proxy.mend();
  await expect.poll(() => countJobs(database)).toBe(3);
});

test("a URL that has changed in its file is used by the next purge", async () => {
  await using folder = await createFolder();
  await using login = await createLogin(database, "gomemory_reader");
  const DATABASE_URL_FILE = await folder.write("url", login.url);
  await using app = await startTestApp({ DATABASE_URL_FILE, PURGE: "on", PURGE_INTERVAL: "20ms" });
  await expect.poll(() => ended(app, "denied")).toBeGreaterThan(0);
  await folder.write("url", database.url);
  await expect.poll(() => countJobs(database)).toBe(3);
});

test("a batch that takes long takes no connection from calls", async () => {
  await using gate = await stopAtDelete(database);
  await using app = await startPurging({ DATABASE_POOL_SIZE: "1" });
  await gate.reached();
  expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
  expect((await fetch(`${app.url}/get_status/${crypto.randomUUID()}`)).headers.get("error-reason")).toBe(
    "STATUS_NOT_FOUND",
  );
  expect(await metric(app, "db_client_connections_open")).toBe(1);
  await gate[Symbol.asyncDispose]();
});

describe("SIGTERM", () => {
  const env = () => ({ DATABASE_URL: database.url, PURGE: "on", PURGE_INTERVAL: "20ms" });

  test("ends a purge after the batch that runs", async () => {
    await insertAged(database.db, 5_000, 30 * hour);
    await using gate = await stopAtDelete(database);
    await using service = await startServing({ ...env(), SHUTDOWN_TIMEOUT: "1m" });
    await gate.reached();
    service.kill("SIGTERM");
    await service.logged("stopping");
    await gate[Symbol.asyncDispose]();
    expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
    expect(service.logs).toContainEqual(
      expect.objectContaining({ msg: "purged", purged: 5_000, batches: 1 }),
    );
    expect(await countJobs(database)).toBe(15);
  });

  test("cancels a batch that takes longer than SHUTDOWN_TIMEOUT", async () => {
    await using gate = await stopAtDelete(database);
    await using service = await startServing({ ...env(), SHUTDOWN_TIMEOUT: "10ms" });
    const pid = await gate.reached();
    service.kill("SIGTERM");
    expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
    const backend = async () =>
      (await database.pool.query("select from pg_stat_activity where pid = $1", [pid])).rowCount;
    await expect.poll(backend).toBe(0);
    expect(await countJobs(database)).toBe(15);
  });
});
