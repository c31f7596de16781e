import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { migrations } from "../../src/store/schema/migrations/migrations.ts";
import { openMigrator } from "../../src/store/schema/migrator.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase } from "../support/database.ts";
import { runCli, startServing } from "../support/process.ts";
import { startProxy } from "../support/proxy.ts";
import { insertJob } from "../support/rows.ts";
import { createUnprivilegedLogin, openSession } from "../support/schemas.ts";

// MIGRATE=true: the service migrates the database while it starts, or as soon as the database answers.

async function readiness({ url }: { url: string }): Promise<number> {
  return (await fetch(`${url}/readyz`)).status;
}

/** The codes of the logged errors after which it tries again. */
function refusals({ logs }: TestApp): unknown[] {
  return logs
    .filter(({ msg }) => msg === "the database cannot be migrated: trying again")
    .map(({ err }) => (err as { code?: string }).code);
}

const polling = { interval: 20, timeout: 20_000 };

test("a database that is down: the service starts, is not ready, and migrates when the database is there", async () => {
  await using database = await createDatabase({ migrated: false });
  await using proxy = await startProxy(database.url);
  proxy.cut();
  await using app = await startTestApp({ DATABASE_URL: proxy.url, MIGRATE: "true" });
  expect(await readiness(app)).toBe(503);
  expect(app.logs).toContainEqual(
    expect.objectContaining({
      level: "error",
      msg: "the database cannot be migrated: starting all the same, not ready until it is",
      err: expect.objectContaining({ code: "ECONNREFUSED" }),
    }),
  );
  expect(app.logs).toContainEqual(
    expect.objectContaining({
      msg: "not ready",
      err: expect.objectContaining({
        message: "the database is not migrated yet",
        cause: expect.objectContaining({ code: "ECONNREFUSED" }),
      }),
    }),
  );
  await proxy.mend();
  await expect.poll(() => readiness(app), polling).toBe(200);
  const reqId = await insertJob(database.db);
  expect((await fetch(`${app.url}/get_status/${reqId}`)).status).toBe(200);
});

test("a database that takes long: the service starts meanwhile, and is not ready before", async () => {
  await using database = await createDatabase({ migrated: false });
  await using holder = openSession(database.url);
  const other = await holder.pool.connect();
  await other.query("begin; select pg_advisory_xact_lock(7246503117)");
  await using app = await startTestApp({
    DATABASE_URL: database.url,
    MIGRATE: "true",
    DATABASE_CONNECT_TIMEOUT: "100ms",
    REQUEST_TIMEOUT: "100ms",
  });
  expect(await readiness(app)).toBe(503);
  await other.query("rollback");
  other.release();
  await expect.poll(() => readiness(app), polling).toBe(200);
});

test("a database that refuses at start: the service ends, with the first error of the database", async () => {
  await using database = await createDatabase({ migrated: false });
  await using unprivileged = await createUnprivilegedLogin(database);
  await using service = runCli(["serve"], { DATABASE_URL: unprivileged.url, MIGRATE: "true", PORT: "0" });
  expect(await service.exit).toMatchObject({ code: 1, stderr: "" });
  expect(service.logs.at(-1)).toMatchObject({ msg: "cannot start", err: { code: "42501" } });
});

test("a database that refuses later: logged once, and tried again", async () => {
  await using database = await createDatabase({ migrated: false });
  await using unprivileged = await createUnprivilegedLogin(database);
  await using proxy = await startProxy(unprivileged.url);
  proxy.cut();
  await using app = await startTestApp({ DATABASE_URL: proxy.url, MIGRATE: "true" });
  await proxy.mend();
  await expect.poll(() => refusals(app), polling).toEqual(["42501"]);
  expect(await readiness(app)).toBe(503);
  await database.pool.query(`grant create on schema public to ${unprivileged.role}`);
  await expect.poll(() => readiness(app), polling).toBe(200);
  expect(refusals(app)).toEqual(["42501"]);
});

describe("SIGTERM", () => {
  test.for([
    { name: "refuses connections", accepts: false },
    { name: "accepts connections and does not answer", accepts: true },
  ])("ends a service at once that waits for a database that $name", async ({ accepts }) => {
    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    if (!accepts) silent.close();
    await using service = await startServing({
      DATABASE_URL: `postgres://nobody@127.0.0.1:${port}/none`,
      MIGRATE: "true",
    });
    service.kill("SIGTERM");
    expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
    if (accepts) silent.close();
  });

  test("cancels what the database is doing for a migration", async () => {
    await using database = await createDatabase();
    const stopping = new AbortController();
    await using migrator = openMigrator({
      url: database.url,
      size: 1,
      connectTimeout: 5_000,
      onLost() {},
      signal: stopping.signal,
    });
    const sleepy = {
      name: "9999-sleepy",
      transaction: false,
      up: async (db: typeof database.db) => void (await sql`select pg_sleep(600)`.execute(db)),
    };
    const migrating = expect(migrator.migrate({ migrations: [...migrations, sleepy] })).rejects.toMatchObject(
      {
        code: "57014",
      },
    );
    const asleep = async () =>
      (
        await database.pool.query(
          "select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()",
        )
      ).rowCount;
    await expect.poll(asleep, polling).toBe(1);
    stopping.abort(new Error("stop"));
    await migrating;
    expect(await asleep()).toBe(0);
  });
});
