import type pg from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createJobLedger } from "../../src/store/jobs/job-ledger.ts";
import { migrate } from "../../src/store/schema/migrate.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { stopAtChoice, stopAtDelete } from "../support/purge-gate.ts";
import { createLogin, hideRowsFromOwner } from "../support/roles.ts";
import { insertAged, insertJob } from "../support/rows.ts";
import { createUnprivilegedLogin, openSession } from "../support/schemas.ts";
import { newReqId } from "../support/store.ts";

const hour = 3_600;

let database: TestDatabase;

beforeEach(async () => {
  database = await createDatabase();
});

afterEach(() => database[Symbol.asyncDispose]());

type Queryable = Pick<pg.Pool, "query">;

/** What a call of the function returns: nothing while another purger is at work. */
async function purge(
  session: Queryable = database.pool,
  args = "",
): Promise<{ purged: number; is_last: boolean }[]> {
  return (await session.query(`select purged, is_last from memory_job_purge(${args})`)).rows;
}

async function ids(): Promise<string[]> {
  return (await database.pool.query("select req_id from memory_job order by created_at")).rows.map(
    ({ req_id }) => req_id,
  );
}

describe("arguments", () => {
  test.for([
    ["memory_job_purge(null)", "older_than is <NULL>, and must be 24 hours or more"],
    ["memory_job_purge('23:59:59.999999')", "older_than is 23:59:59.999999, and must be 24 hours or more"],
    ["memory_job_purge('-1 year')", "older_than is -1 years, and must be 24 hours or more"],
    [
      "memory_job_purge('-1 year 361 days')",
      "older_than is -1 years +361 days, and must be 24 hours or more",
    ],
    ["memory_job_purgeable('-1 year 361 days')", "older_than is -1 years +361 days, and must be 24 hours"],
    ["memory_job_purge('-infinity')", "older_than is -infinity, and must be 24 hours or more"],
    ["memory_job_purgeable('1 hour')", "older_than is 01:00:00, and must be 24 hours or more"],
    ["memory_job_purgeable(null)", "older_than is <NULL>, and must be 24 hours or more"],
    ["memory_job_purge(max_rows => 0)", "max_rows is 0, and must be from 1 to 5000"],
    ["memory_job_purge(max_rows => 5001)", "max_rows is 5001, and must be from 1 to 5000"],
    ["memory_job_purge(max_rows => null)", "max_rows is <NULL>, and must be from 1 to 5000"],
    ["memory_job_purge(not_before => null)", "not_before is null, and must be a time"],
  ] as const)("%s is refused", async ([call, message]) => {
    await insertJob(database.db, { age: 1_000 * hour });
    await expect(database.pool.query(`select from ${call}`)).rejects.toMatchObject({
      code: "22023",
      message: expect.stringContaining(message),
    });
    expect(await ids()).toHaveLength(1);
  });

  test("without any: 25 hours, 5,000 rows, from the beginning", async () => {
    await insertAged(database.db, 5_001, 25 * hour + 1);
    await insertAged(database.db, 1, 25 * hour - 60);
    expect(await purge()).toEqual([{ purged: 5_000, is_last: false }]);
    expect(await purge()).toEqual([{ purged: 1, is_last: true }]);
    expect(await purge()).toEqual([{ purged: 0, is_last: true }]);
    expect(await ids()).toHaveLength(1);
  });

  test("24 hours is the least, and an infinite age finds nothing", async () => {
    await insertJob(database.db, { age: 24 * hour + 1 });
    expect(await purge(database.pool, "'infinity'")).toEqual([{ purged: 0, is_last: true }]);
    expect(await purge(database.pool, "'24 hours'")).toEqual([{ purged: 1, is_last: true }]);
  });

  test("oldest, newest and cutoff tell what was done", async () => {
    await insertAged(database.db, 3, 30 * hour);
    const expected = "select min(created_at) as oldest, max(created_at) as newest from memory_job";
    const [before] = (await database.pool.query(expected)).rows;
    const { rows } = await database.pool.query(
      "select oldest, newest, now() - cutoff = interval '25 hours' as exact from memory_job_purge()",
    );
    expect(rows).toEqual([{ ...before, exact: true }]);
  });

  test("not_before is where a batch begins", async () => {
    const old = await insertJob(database.db, { age: 50 * hour });
    await insertJob(database.db, { age: 30 * hour });
    expect(await purge(database.pool, "not_before => now() - interval '40 hours'")).toEqual([
      { purged: 1, is_last: true },
    ]);
    expect(await ids()).toEqual([old]);
  });

  test("the jobs that would be deleted are counted, and none is deleted", async () => {
    await insertAged(database.db, 3, 30 * hour);
    await insertJob(database.db);
    const { rows } = await database.pool.query(
      "select jobs, oldest = (select min(created_at) from memory_job) as oldest from memory_job_purgeable()",
    );
    expect(rows).toEqual([{ jobs: "3", oldest: true }]);
    expect(await ids()).toHaveLength(4);
  });
});

test("a day is 24 hours, where the session's time zone has changed its clocks within it", async () => {
  // Its clocks were set forward twelve hours ago, and are set back in some weeks.
  const changed = new Date(Date.now() - 12 * hour * 1_000);
  const day = Math.floor((changed.getTime() - Date.UTC(changed.getUTCFullYear())) / (24 * hour * 1_000));
  await using session = openSession(
    database.url,
    `-c TimeZone=STD0DST,${day}/${changed.getUTCHours()},${(day + 60) % 365}/0`,
  );
  const { rows } = await session.pool.query(
    "select now() - interval '1 day' > now() - interval '24 hours' as shorter",
  );
  expect(rows).toEqual([{ shorter: true }]);
  const kept = await insertJob(database.db, { age: 24 * hour - 60 });
  await insertJob(database.db, { age: 24 * hour + 60 });
  expect(await purge(session.pool, "interval '1 day'")).toEqual([{ purged: 1, is_last: true }]);
  expect(await ids()).toEqual([kept]);
});

describe("a job that its producer submits again at the same moment is never lost", () => {
  test("the producer has locked it: it is left alone, and the others are deleted", async () => {
    const resubmitted = await insertJob(database.db, { age: 30 * hour, status: "success" });
    await insertAged(database.db, 2, 26 * hour);
    const producer = await database.pool.connect();
    try {
      await producer.query("begin");
      await producer.query("update memory_job set status = 'pending' where req_id = $1", [resubmitted]);
      expect(await purge()).toEqual([{ purged: 2, is_last: true }]);
      await producer.query("commit");
    } finally {
      producer.release();
    }
    expect(await purge()).toEqual([{ purged: 0, is_last: true }]);
    expect(await ids()).toEqual([resubmitted]);
  });

  test("it was submitted again after the purge had begun to choose: it is kept", async () => {
    await insertJob(database.db, { age: 40 * hour });
    const resubmitted = newReqId();
    await database.pool.query(
      "insert into memory_job (req_id, status, created_at) values ($1, 'success', now() - interval '30 hours')",
      [resubmitted],
    );
    await using gate = await stopAtChoice(database);
    const purging = purge();
    await gate.reached();
    expect(await createJobLedger(database.db).create(resubmitted)).toBe(true);
    await gate[Symbol.asyncDispose]();
    expect(await purging).toEqual([{ purged: 1, is_last: true }]);
    expect(await ids()).toEqual([resubmitted]);
  });

  test("a move that leaves it expired does not keep it", async () => {
    const moved = newReqId();
    await insertJob(database.db, { age: 40 * hour });
    await database.pool.query(
      "insert into memory_job (req_id, status, created_at) values ($1, 'processing', now() - interval '30 hours')",
      [moved],
    );
    await using gate = await stopAtChoice(database);
    const purging = purge();
    await gate.reached();
    await createJobLedger(database.db).succeed(moved);
    await gate[Symbol.asyncDispose]();
    expect(await purging).toEqual([{ purged: 2, is_last: true }]);
  });

  test("the purge was first: the producer inserts it anew when that has ended", async () => {
    const resubmitted = newReqId();
    await database.pool.query(
      "insert into memory_job (req_id, status, created_at) values ($1, 'success', now() - interval '30 hours')",
      [resubmitted],
    );
    await using gate = await stopAtDelete(database);
    const purging = purge();
    await gate.reached();
    const submitting = createJobLedger(database.db).create(resubmitted);
    const waiting =
      "select from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'";
    await expect.poll(async () => (await database.pool.query(waiting)).rowCount, { interval: 5 }).toBe(1);
    await gate[Symbol.asyncDispose]();
    expect(await purging).toEqual([{ purged: 1, is_last: true }]);
    expect(await submitting).toBe(true);
    expect(await ids()).toEqual([resubmitted]);
  });

  test("in a transaction that sees one snapshot, it is kept, and the batch fails", async () => {
    const resubmitted = newReqId();
    await database.pool.query(
      "insert into memory_job (req_id, status, created_at) values ($1, 'success', now() - interval '30 hours')",
      [resubmitted],
    );
    const session = await database.pool.connect();
    try {
      await session.query("begin isolation level repeatable read; select from memory_job limit 1");
      await createJobLedger(database.db).create(resubmitted);
      await expect(purge(session)).rejects.toMatchObject({ code: "40001" });
      await session.query("rollback");
    } finally {
      session.release();
    }
    expect(await ids()).toEqual([resubmitted]);
  });
});

test("a worker that moves a job that was purged changes no row, and learns it", async () => {
  const purged = newReqId();
  await database.pool.query(
    "insert into memory_job (req_id, status, created_at) values ($1, 'processing', now() - interval '30 hours')",
    [purged],
  );
  expect(await purge()).toEqual([{ purged: 1, is_last: true }]);
  await expect(createJobLedger(database.db).succeed(purged)).rejects.toMatchObject({
    reason: "JOB_NOT_FOUND",
  });
  expect(await ids()).toEqual([]);
});

describe("two purgers", () => {
  test("the second one gets no row, and deletes nothing, until the transaction of the first has ended", async () => {
    await insertAged(database.db, 10, 30 * hour);
    const first = await database.pool.connect();
    try {
      await first.query("begin");
      expect(await purge(first, "max_rows => 5")).toEqual([{ purged: 5, is_last: false }]);
      expect(await purge()).toEqual([]);
      await first.query("rollback");
    } finally {
      first.release();
    }
    expect(await purge()).toEqual([{ purged: 10, is_last: true }]);
  });

  test("of two tables in one database do not concern each other", async () => {
    await database.pool.query("create schema other");
    await using other = openSession(database.url, "-c search_path=other");
    await migrate(other.db);
    const first = await database.pool.connect();
    try {
      await first.query("begin");
      await purge(first);
      expect(await purge(other.pool)).toEqual([{ purged: 0, is_last: true }]);
    } finally {
      await first.query("rollback");
      first.release();
    }
  });
});

describe("what runs as the table's owner calls nothing of another role's", () => {
  test("whatever the search path, temporary tables, and functions that others made in the table's schema", async () => {
    const kept = await insertJob(database.db);
    await insertJob(database.db, { age: 30 * hour });
    await using login = await createLogin(database, "gomemory_purger");
    const role = new URL(login.url).username;
    const evil = "language plpgsql as $$ begin raise exception 'this ran as %', current_user; end $$";
    await database.pool.query(`
      create schema forged authorization ${role};
      grant create on schema public to ${role}`);
    const session = await login.pool.connect();
    try {
      for (const schema of ["forged", "public"]) {
        await session.query(`
          set search_path = ${schema};
          create function now() returns timestamptz ${evil};
          create function "extract"(text, interval) returns numeric ${evil};
          create function pg_try_advisory_xact_lock(integer, integer) returns boolean ${evil};
          create function less(interval, interval) returns boolean ${evil};
          create operator < (leftarg = interval, rightarg = interval, function = less);
          create function less(timestamptz, timestamptz) returns boolean ${evil};
          create operator < (leftarg = timestamptz, rightarg = timestamptz, function = less);
          create function equal(tid, tid) returns boolean ${evil};
          create operator = (leftarg = tid, rightarg = tid, function = equal);
          create function times(double precision, interval) returns interval ${evil};
          create operator * (leftarg = double precision, rightarg = interval, function = times);
          create function step(tid[], tid) returns tid[] ${evil};
          create aggregate array_agg(tid) (sfunc = step, stype = tid[]);
          create function step(timestamptz, timestamptz) returns timestamptz ${evil};
          create aggregate min(timestamptz) (sfunc = step, stype = timestamptz)`);
      }
      await session.query(`
        create temporary table memory_job (req_id uuid, created_at timestamptz);
        create temporary table pg_class (oid oid, relkind "char", relhassubclass boolean);
        set search_path = pg_temp, forged, public, pg_catalog`);
      expect((await session.query("select purged from public.memory_job_purge()")).rows).toEqual([
        { purged: 1 },
      ]);
      expect((await session.query("select jobs from public.memory_job_purgeable()")).rows).toEqual([
        { jobs: "0" },
      ]);
    } finally {
      session.release(true);
      await database.pool.query(`drop owned by ${role} cascade`);
    }
    expect(await ids()).toEqual([kept]);
  });

  test("the table's owner, and not a superuser who has migrated, is whose rights they have", async () => {
    await using other = await createDatabase({ migrated: false });
    await using owner = await createUnprivilegedLogin(other);
    await migrate(other.db);
    await other.pool.query(`
      alter table memory_job owner to ${owner.role};
      delete from memory_job_migration where name ~ '^0005';
      drop function memory_job_purge, memory_job_purgeable;
      grant create on schema public to ${owner.role}`);
    expect((await migrate(other.db)).ran).toEqual(["0005-purge"]);
    const { rows } = await other.pool.query(
      "select distinct proowner::regrole::text as owner from pg_proc where proname ~ '^memory_job_purge'",
    );
    expect(rows).toEqual([{ owner: owner.role }]);
    expect((await owner.pool.query("select purged from memory_job_purge()")).rows).toEqual([{ purged: 0 }]);
  });
});

describe("row-level security", () => {
  test("does not concern the purger", async () => {
    await insertJob(database.db, { age: 30 * hour });
    await database.pool.query("alter table memory_job enable row level security");
    await using login = await createLogin(database, "gomemory_purger");
    expect(await purge(login.pool)).toEqual([{ purged: 1, is_last: true }]);
  });

  test("that is forced upon the owner is an error, and no row stays for ever without one", async () => {
    await using owner = await createUnprivilegedLogin(database);
    await hideRowsFromOwner(database, owner.role);
    await expect(purge()).rejects.toMatchObject({
      code: "42501",
      message: expect.stringContaining("row-level security policy"),
    });
    await database.pool.query("alter table memory_job no force row level security");
    expect(await purge()).toEqual([{ purged: 0, is_last: true }]);
  });
});
