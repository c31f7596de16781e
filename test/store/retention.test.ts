import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  openRetention,
  type PurgeOptions,
  type PurgeProgress,
  type Retention,
} from "../../src/store/jobs/retention.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { stopAtChoice, stopAtDelete } from "../support/purge-gate.ts";
import { createLogin, hideRowsFromOwner } from "../support/roles.ts";
import { insertAged, insertJob } from "../support/rows.ts";
import { createUnprivilegedLogin, openSession } from "../support/schemas.ts";
import { poolOptions } from "../support/store.ts";

const hour = 3_600;
const options = { olderThan: 25 * hour * 1_000, batch: 5_000, signal: new AbortController().signal };

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

/** Purges as another process would. */
async function purgeFrom(url: string, purgeOptions: Partial<PurgeOptions> = {}) {
  await using other = openRetention({ url, ...poolOptions });
  return await other.purge({ ...options, ...purgeOptions });
}

async function idsLeft(): Promise<string[]> {
  const { rows } = await database.pool.query("select req_id from memory_job order by created_at desc");
  return rows.map((row) => row.req_id);
}

/** Purges, and notes how many rows each batch has deleted. */
async function purgeNoting(
  purgeOptions: Partial<PurgeOptions>,
): Promise<{ batches: number[]; seen: PurgeProgress[] }> {
  const seen: PurgeProgress[] = [];
  await retention.purge({ ...options, ...purgeOptions, onBatch: (progress) => seen.push(progress) });
  return { seen, batches: seen.map(({ purged }, index) => purged - (seen[index - 1]?.purged ?? 0)) };
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
  expect(await retention.purge(options)).toEqual({ outcome: "done", purged: 4, batches: 1 });
  expect(await idsLeft()).toEqual(kept);
  expect(await retention.purge(options)).toEqual({ outcome: "done", purged: 0, batches: 1 });
});

test("in batches, the oldest first, until one is not full", async () => {
  await insertAged(database.db, 25, 26 * hour);
  const { rows } = await database.pool.query("select created_at from memory_job order by created_at");
  const { seen, batches } = await purgeNoting({ batch: 10 });
  expect(batches).toEqual([10, 10, 5]);
  expect(seen.map(({ oldest, newest }) => [oldest, newest])).toEqual(
    [9, 19, 24].map((last) => [rows[0].created_at, rows[last].created_at]),
  );
  const [{ cutoff = new Date(0) } = {}] = seen;
  expect(Math.abs(Date.now() - options.olderThan - cutoff.getTime())).toBeLessThan(60_000);
});

test("each batch begins where the one before it ended", async () => {
  await insertAged(database.db, 1_000, 26 * hour);
  const reader = await database.pool.connect();
  // It keeps the index entries of deleted rows.
  await reader.query("begin isolation level repeatable read; select from memory_job limit 1");
  // A session reports its counts when it ends at the latest.
  await purgeFrom(database.url, { batch: 20 });
  await reader.query("rollback");
  reader.release();
  const read = async () => {
    const { rows } = await database.pool.query(
      "select pg_stat_get_tuples_returned('memory_job_created_at'::regclass)::integer as read",
    );
    return rows[0].read;
  };
  // From the beginning each time, these would be 25,000.
  await expect.poll(read).toBeGreaterThanOrEqual(1_000);
  expect(await read()).toBeLessThan(1_100);
});

test("counts what it would delete, and deletes none", async () => {
  expect(await retention.count(options.olderThan)).toEqual({ jobs: 0, oldest: undefined });
  await insertAged(database.db, 3, 26 * hour);
  await insertJob(database.db);
  const { rows } = await database.pool.query("select min(created_at) as oldest from memory_job");
  expect(await retention.count(options.olderThan)).toEqual({ jobs: 3, oldest: rows[0].oldest });
  expect(await idsLeft()).toHaveLength(4);
});

test.for([
  ["a format of times", "-c DateStyle=German -c TimeZone=Asia/Kathmandu -c IntervalStyle=sql_standard"],
  ["few digits", "-c extra_float_digits=-15"],
] as const)("whatever a role has set: %s", async ([, setting]) => {
  await insertAged(database.db, 25, 26 * hour);
  const { rows } = await database.pool.query("select created_at from memory_job order by created_at");
  await using session = openSession(database.url, setting);
  const seen: PurgeProgress[] = [];
  const result = await purgeFrom(session.url, { batch: 10, onBatch: (progress) => seen.push(progress) });
  expect(result).toEqual({ outcome: "done", purged: 25, batches: 3 });
  expect(seen.at(-1)).toMatchObject({ oldest: rows[0].created_at, newest: rows[24].created_at });
});

test("a role whose transactions see one snapshot: what is submitted again meanwhile fails no batch", async () => {
  const resubmitted = await insertJob(database.db, { status: "success", age: 30 * hour });
  await insertAged(database.db, 1, 26 * hour);
  await using session = openSession(database.url, "-c default_transaction_isolation=serializable");
  await using gate = await stopAtChoice(database);
  const purging = purgeFrom(session.url, { batch: 1 });
  await gate.reached();
  await database.pool.query("update memory_job set status = 'pending' where req_id = $1", [resubmitted]);
  await gate[Symbol.asyncDispose]();
  expect(await purging).toMatchObject({ outcome: "done", purged: 1 });
  expect(await idsLeft()).toEqual([resubmitted]);
});

describe("the signal", () => {
  test("ends a purge after the batch that runs", async () => {
    await insertAged(database.db, 25, 26 * hour);
    const stopping = new AbortController();
    await using gate = await stopAtDelete(database);
    const purging = retention.purge({ ...options, batch: 10, signal: stopping.signal });
    await gate.reached();
    stopping.abort();
    await gate[Symbol.asyncDispose]();
    expect(await purging).toEqual({ outcome: "stopped", purged: 10, batches: 1 });
    expect(await idsLeft()).toHaveLength(15);
  });

  test("ends the pause between two", async () => {
    await insertAged(database.db, 25, 26 * hour);
    const stopping = new AbortController();
    const result = await retention.purge({
      ...options,
      batch: 10,
      signal: stopping.signal,
      onBatch: () => stopping.abort(),
    });
    expect(result).toEqual({ outcome: "stopped", purged: 10, batches: 1 });
  });

  test("that has fired before lets no batch begin", async () => {
    await insertAged(database.db, 5, 26 * hour);
    const result = await retention.purge({ ...options, signal: AbortSignal.abort() });
    expect(result).toEqual({ outcome: "stopped", purged: 0, batches: 0 });
    expect(await idsLeft()).toHaveLength(5);
  });
});

describe("a batch that fails for its size is tried again with half as many rows", () => {
  /** Refuses to delete more rows in one statement, as a timeout would. */
  const allow = (rows: number, code: string) =>
    database.pool.query(`
      create or replace function at_most() returns trigger language plpgsql as $$
      begin
        if (select count(*) from deleted) > ${rows} then raise exception 'too many' using errcode = '${code}'; end if;
        return null;
      end $$;
      create or replace trigger at_most after delete on memory_job referencing old table as deleted
      for each statement execute function at_most()`);

  test.for([
    ["57014", "cancelled"],
    ["40001", "could not be serialized"],
    ["40P01", "in a deadlock"],
  ] as const)("SQLSTATE %s: %s", async ([code]) => {
    await insertAged(database.db, 10, 26 * hour);
    await allow(3, code);
    const { batches } = await purgeNoting({ batch: 10 });
    expect(batches.reduce((sum, rows) => sum + rows)).toBe(10);
    expect(Math.max(...batches)).toBe(3);
  });

  test("a statement_timeout of the role", async () => {
    await insertAged(database.db, 10, 26 * hour);
    await database.pool.query(`
      create function slow() returns trigger language plpgsql as $$
      begin
        if (select count(*) from deleted) > 5 then perform pg_sleep(60); end if;
        return null;
      end $$;
      create trigger slow after delete on memory_job referencing old table as deleted
      for each statement execute function slow()`);
    await using session = openSession(database.url, "-c statement_timeout=2s");
    expect(await purgeFrom(session.url, { batch: 10 })).toMatchObject({ outcome: "done", purged: 10 });
  });

  test("and with more again, once that was fast", async () => {
    await insertAged(database.db, 30, 26 * hour);
    await database.pool.query(`
      create sequence attempts;
      create function once() returns trigger language plpgsql as $$
      begin
        if nextval('public.attempts') = 1 then raise exception 'once' using errcode = '57014'; end if;
        return null;
      end $$;
      create trigger once after delete on memory_job for each statement execute function once()`);
    // However slow the machine is, no batch takes any time.
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      expect((await purgeNoting({ batch: 10 })).batches).toEqual([5, 10, 10, 5]);
    } finally {
      vi.useRealTimers();
    }
  });

  test("down to one, and then its error is the purge's", async () => {
    await insertAged(database.db, 10, 26 * hour);
    await allow(0, "57014");
    await expect(retention.purge({ ...options, batch: 4 })).rejects.toMatchObject({ code: "57014" });
    expect(await idsLeft()).toHaveLength(10);
  });

  test("another error is not tried again", async () => {
    await insertAged(database.db, 10, 26 * hour);
    await allow(1, "P0001");
    await expect(retention.purge(options)).rejects.toMatchObject({ code: "P0001" });
  });
});

describe("two purgers at once", () => {
  test("one does the work, the other says that it is busy", async () => {
    await insertAged(database.db, 25, 26 * hour);
    await using gate = await stopAtDelete(database);
    const purging = retention.purge({ ...options, batch: 10 });
    await gate.reached();
    expect(await purgeFrom(database.url)).toEqual({ outcome: "busy", purged: 0, batches: 0 });
    await gate[Symbol.asyncDispose]();
    expect(await purging).toEqual({ outcome: "done", purged: 25, batches: 3 });
  });

  test("each row is deleted once, whichever of them deletes it", async () => {
    await insertAged(database.db, 400, 26 * hour);
    const results = await Promise.all(
      Array.from({ length: 4 }, () => purgeFrom(database.url, { batch: 10 })),
    );
    expect(results.some(({ outcome }) => outcome === "done")).toBe(true);
    expect(results.reduce((sum, { purged }) => sum + purged, 0)).toBe(400);
    expect(await idsLeft()).toEqual([]);
  });
});

describe("a purge that is killed loses nothing younger, and a later one deletes the rest", () => {
  const rest = async (count: number) => {
    expect(await purgeFrom(database.url)).toEqual({ outcome: "done", purged: count, batches: 1 });
    expect(await idsLeft()).toHaveLength(1);
  };

  beforeEach(async () => {
    await insertAged(database.db, 25, 26 * hour);
    await insertJob(database.db);
  });

  test("its backend, within a batch", async () => {
    await using gate = await stopAtDelete(database);
    const killed = expect(retention.purge({ ...options, batch: 10 })).rejects.toMatchObject({
      code: "57P01",
    });
    await database.pool.query("select pg_terminate_backend($1)", [await gate.reached()]);
    await killed;
    await gate[Symbol.asyncDispose]();
    expect(await idsLeft()).toHaveLength(26);
    await rest(25);
  });

  test("its backend, after a batch: the next one runs on another", async () => {
    let terminated: Promise<unknown> | undefined;
    const result = await retention
      .purge({
        ...options,
        batch: 10,
        onBatch() {
          terminated ??= database.pool.query(`
          select pg_terminate_backend(pid, 10000) from pg_stat_activity
          where datname = current_database() and query ~ 'memory_job_purge' and pid <> pg_backend_pid()`);
        },
      })
      .catch((error) => error);
    await terminated;
    // The backend ends while nothing runs on it, or while the next batch does.
    if (result instanceof Error) expect(result).toMatchObject({ code: "57P01" });
    await purgeFrom(database.url);
    expect(await idsLeft()).toHaveLength(1);
  });

  test("its process, within a batch: PostgreSQL ends the batch", async () => {
    await using gate = await stopAtDelete(database);
    const module = fileURLToPath(new URL("../../src/store/jobs/retention.ts", import.meta.url));
    const script = `
      const { openRetention } = await import(${JSON.stringify(module)});
      const retention = openRetention({ url: process.env.URL, connectTimeout: 10_000, onLost() {} });
      await retention.purge({ olderThan: ${options.olderThan}, batch: 10, signal: new AbortController().signal });`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      env: { URL: database.url },
      stdio: "inherit",
    });
    const exited = once(child, "exit");
    const pid = await gate.reached();
    child.kill("SIGKILL");
    await exited;
    await gate[Symbol.asyncDispose]();
    const alive = async () =>
      (await database.pool.query("select from pg_stat_activity where pid = $1", [pid])).rowCount;
    await expect.poll(alive, { interval: 5 }).toBe(0);
    await rest(15);
  });
});

describe("what keeps it from purging, and what to do", () => {
  test("a role that may not", async () => {
    await using login = await createLogin(database, "gomemory_reader");
    await expect(purgeFrom(login.url)).rejects.toMatchObject({
      name: "PurgeDenied",
      message:
        "permission denied for function memory_job_purge: run deploy/roles.sql, and grant gomemory_purger to this role",
    });
    await using denied = openRetention({ url: login.url, ...poolOptions });
    await expect(denied.count(options.olderThan)).rejects.toMatchObject({ name: "PurgeDenied" });
  });

  test("a role that may not, where the catalogs tell nothing: the driver's error", async () => {
    await database.pool.query("revoke execute on function has_function_privilege(oid, text) from public");
    await using login = await createLogin(database, "gomemory_reader");
    await expect(purgeFrom(login.url)).rejects.toMatchObject({
      code: "42501",
      message: "permission denied for function memory_job_purge",
    });
  });

  test("a role that may", async () => {
    await insertAged(database.db, 5, 26 * hour);
    await using login = await createLogin(database, "gomemory_purger");
    await using allowed = openRetention({ url: login.url, ...poolOptions });
    expect(await allowed.count(options.olderThan)).toMatchObject({ jobs: 5 });
    expect(await allowed.purge(options)).toEqual({ outcome: "done", purged: 5, batches: 1 });
    expect(await allowed.oldTransactions()).toEqual([]);
  });

  test("a role without USAGE on the schema", async () => {
    await database.pool.query("revoke usage on schema public from public");
    await using login = await createUnprivilegedLogin(database);
    await expect(purgeFrom(login.url)).rejects.toMatchObject({
      name: "PurgeDenied",
      message: expect.stringMatching(
        /in schema public, on which this role has no USAGE: run deploy\/roles\.sql/,
      ),
    });
  });

  test("an owner whose rows are hidden", async () => {
    await using owner = await createUnprivilegedLogin(database);
    await hideRowsFromOwner(database, owner.role);
    await expect(purgeFrom(owner.url)).rejects.toMatchObject({
      name: "PurgeDenied",
      message: expect.stringMatching(
        /row-level security.*: this is what the owner of memory_job_purge may not$/,
      ),
    });
  });

  test("a schema without the function", async () => {
    await database.pool.query("drop function memory_job_purge");
    await expect(retention.purge(options)).rejects.toMatchObject({
      name: "SchemaError",
      message: expect.stringMatching(/memory_job_purge.* does not exist: run `npm run migrate`/),
    });
  });

  test("a search path that does not lead to it", async () => {
    await using session = openSession(database.url, "-c search_path=nowhere");
    await expect(purgeFrom(session.url)).rejects.toMatchObject({
      name: "SchemaError",
      message: expect.stringMatching(/memory_job_purge is in schema public: set the search_path/),
    });
  });

  test("a database that only reads: the driver's error", async () => {
    await using session = openSession(database.url, "-c default_transaction_read_only=on");
    await expect(purgeFrom(session.url)).rejects.toMatchObject({ code: "25006" });
  });
});

describe("a batch never runs for ever", () => {
  test.for([
    ["5s", ""],
    ["4s", "-c statement_timeout=4s"],
    ["5s", "-c statement_timeout=1h"],
  ] as const)("its statement_timeout is %s where the role has '%s'", async ([timeout, setting]) => {
    await insertAged(database.db, 1, 26 * hour);
    await database.pool.query(`
      create table seen (timeout text);
      create function see() returns trigger language plpgsql as $$
      begin
        insert into public.seen values (current_setting('statement_timeout'));
        return null;
      end $$;
      create trigger see after delete on memory_job for each statement execute function see()`);
    await using session = openSession(database.url, setting);
    await purgeFrom(session.url);
    expect((await database.pool.query("select timeout from seen")).rows).toEqual([{ timeout }]);
  });

  test("disposing of the retention cancels it", async () => {
    await insertAged(database.db, 25, 26 * hour);
    const stopping = new AbortController();
    await using gate = await stopAtDelete(database);
    await using disposed = new AsyncDisposableStack();
    const other = disposed.use(openRetention({ url: database.url, ...poolOptions }));
    const purging = other.purge({ ...options, signal: stopping.signal });
    await gate.reached();
    stopping.abort();
    await disposed.disposeAsync();
    expect(await purging).toEqual({ outcome: "stopped", purged: 0, batches: 0 });
    expect(await idsLeft()).toHaveLength(25);
  });

  test("of a server that does not answer, the connection is closed", async () => {
    await insertAged(database.db, 25, 26 * hour);
    await using gate = await stopAtDelete(database);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const failed = expect(retention.purge(options)).rejects.toThrow(/Connection terminated/);
      const pid = await gate.reached();
      process.kill(pid, "SIGSTOP");
      try {
        vi.advanceTimersByTime(10_000);
        await failed;
      } finally {
        process.kill(pid, "SIGCONT");
      }
    } finally {
      vi.useRealTimers();
    }
  });
});
