import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseReqId } from "../../src/status/req-id.ts";
import type { JobState } from "../../src/status/status.ts";
import { type Connections, openConnections } from "../../src/store/connections/connections.ts";
import { createJobLedger } from "../../src/store/jobs/job-ledger.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { type Known, startCallers } from "../support/faults/callers.ts";
import { type Pgbouncer, startPgbouncer } from "../support/ha/pgbouncer.ts";
import { installPrograms, skipped } from "../support/ha/programs.ts";
import { lockTable } from "../support/lock.ts";
import { runCli, type Serving, startServing } from "../support/process.ts";
import { protocols } from "../support/protocols.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

/** In milliseconds. */
const requestTimeout = 1_000;
const recoveryBound = 1_000;
const states: readonly JobState[] = ["pending", "processing", "success", "failure"];

describe.skipIf(skipped)("pgbouncer in transaction mode", () => {
  const started = new AsyncDisposableStack();
  /** The database without pgbouncer. */
  let database: TestDatabase;
  let pgbouncer: Pgbouncer;
  let through: Connections;
  let service: Serving;

  beforeAll(async () => {
    const programs = started.use(await installPrograms());
    database = started.use(await createDatabase({ migrated: false }));
    pgbouncer = started.use(await startPgbouncer(programs, database.url));
    through = started.use(
      openConnections({ url: pgbouncer.url, size: 10, connectTimeout: 1_000, onLost() {} }),
    );
    const DATABASE_URL = pgbouncer.url;
    // Concurrent migrations, as when several instances start at the same time.
    const migrations = Array.from({ length: 3 }, () => runCli(["migrate"], { DATABASE_URL }).exit);
    for (const exit of await Promise.all(migrations)) expect(exit).toMatchObject({ code: 0, stderr: "" });
    service = started.use(
      await startServing({ DATABASE_URL, REQUEST_TIMEOUT: `${requestTimeout}ms`, BATCHES_IN_FLIGHT: "4" }),
    );
  });

  afterAll(() => started.disposeAsync());

  test("the service is ready", async () => {
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
  });

  test.for(protocols)("$name: all outcomes", async ({ isRest, open }) => {
    const client = open(service.url);
    for (const status of states) {
      const reqId = await insertJob(database.db, { status, error: status === "failure" ? "it broke" : null });
      expect(await client.ask(reqId)).toEqual({ json: await documentedJson(database.db, reqId) });
    }
    const expired = await insertJob(database.db, { age: 24 * 60 * 60 + 1 });
    for (const reqId of [randomUUID(), expired]) {
      const code = isRest ? 500 : "NOT_FOUND";
      expect(await client.ask(reqId)).toMatchObject({ code, reason: "STATUS_NOT_FOUND" });
    }
    const code = isRest ? 400 : "INVALID_ARGUMENT";
    expect(await client.ask("a b")).toMatchObject({ code, reason: "INVALID_REQ_ID" });
    client.close();
  });

  test("concurrent writes by the job ledger", async () => {
    const ledger = createJobLedger(through.db);
    const [client] = protocols.map(({ open }) => open(service.url));
    const jobs = Array.from({ length: 100 }, async (_, index) => {
      const reqId = parseReqId(randomUUID());
      expect(await ledger.create(reqId)).toBe(true);
      expect(await ledger.create(reqId)).toBe(false);
      await ledger.start(reqId);
      if (index % 2 === 0) await ledger.succeed(reqId);
      else await ledger.fail(reqId, "it broke");
      await expect(ledger.start(reqId)).rejects.toMatchObject({ reason: "IMPOSSIBLE_MOVE" });
      expect(await client?.ask(reqId)).toEqual({ json: await documentedJson(database.db, reqId) });
    });
    await Promise.all(jobs);
    client?.close();
  });

  test("the statement of a call whose deadline has passed is cancelled", async () => {
    const reqId = await insertJob(database.db);
    await using lock = await lockTable(database);
    const grpc = protocols.at(-1)?.open(service.url);
    const call = grpc?.ask(reqId, { timeoutMs: 500 });
    await lock.blocks(1);
    expect(await call).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await lock.blocksCalls(0);
    grpc?.close();
  });

  test("shared sessions keep no setting or lock, and no prepared statement but those that read statuses", async () => {
    const rows = await Promise.all(
      Array.from({ length: 30 }, async () => {
        const { rows } = await sql<{ left: string }>`
          select name as left from pg_prepared_statements where name !~ '^gomemory_'
          union all
          select name from pg_settings where source = 'session'
          union all
          select locktype from pg_locks where locktype = 'advisory'`.execute(through.db);
        return rows.map(({ left }) => left);
      }),
    );
    // Settings that pgbouncer itself restores for each client.
    const synchronized = ["application_name", "client_encoding", "DateStyle", "TimeZone"];
    expect(new Set(rows.flat()).difference(new Set(synchronized))).toEqual(new Set());
  });

  test.for([
    { name: "RECONNECT", failsCalls: false, act: () => pgbouncer.command("RECONNECT") },
    {
      name: "KILL and RESUME",
      failsCalls: true,
      async act() {
        const { pathname } = new URL(database.url);
        await pgbouncer.command(`KILL ${pathname.slice(1)}`);
        await pgbouncer.command(`RESUME ${pathname.slice(1)}`);
      },
    },
    { name: "kill -9 and restart", failsCalls: true, act: () => pgbouncer.restart() },
  ])("$name under load: no wrong answer, and no failure after recovery", async ({
    name,
    failsCalls,
    act,
  }) => {
    const known: Known[] = [];
    for (const status of states.slice(0, 3)) {
      const reqId = await insertJob(database.db, { status });
      known.push({ reqId, json: await documentedJson(database.db, reqId) });
    }
    await using callers = startCallers(service.url, known, requestTimeout);
    await pause(500);
    await act();
    const endedAt = performance.now();
    await pause(1_500);
    for (const { family, calls, wrong, late, failed, recoveredIn, complaints } of await callers.stop(
      endedAt,
    )) {
      expect(calls).toBeGreaterThan(0);
      expect({ family, wrong, late, complaints }).toEqual({ family, wrong: 0, late: 0, complaints: [] });
      if (!failsCalls) expect(failed).toBe(0);
      expect(recoveredIn).toBeLessThanOrEqual(recoveryBound);
      process.stdout.write(`${name}, ${family}: ${calls} calls, ${failed} failed, ${recoveredIn} ms\n`);
    }
  });

  test("the service shuts down gracefully, and has written nothing to standard error", async () => {
    service.kill("SIGTERM");
    expect(await service.exit).toMatchObject({ code: 0, stderr: "" });
  });
});
