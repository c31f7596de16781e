import { sql } from "kysely";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createJobLedger } from "../../src/store/jobs/job-ledger.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { insertAged, insertPending } from "../support/rows.ts";
import { newReqId } from "../support/store.ts";

const hour = 3_600;

let database: TestDatabase;

beforeEach(async () => {
  database = await createDatabase();
});

afterEach(() => database[Symbol.asyncDispose]());

/** A connection whose statements, and those in functions, report their plans. */
async function openExplaining(): Promise<{ session: pg.Client; plans: string[] } & AsyncDisposable> {
  const session = new pg.Client({ connectionString: database.url });
  await session.connect();
  await session.query(`
    load 'auto_explain';
    set auto_explain.log_min_duration = 0;
    set auto_explain.log_nested_statements = on;
    set client_min_messages = log`);
  const plans: string[] = [];
  session.on("notice", ({ message = "" }) => {
    if (message.includes("plan:")) plans.push(message);
  });
  return { session, plans, [Symbol.asyncDispose]: () => session.end() };
}

/** @returns how the statements of the function scanned the table. */
function scansOf(plans: readonly string[]): string[] {
  const ofTable = plans.filter((plan) => /LockRows|Delete on/.test(plan));
  return ofTable.flatMap((plan) => plan.match(/\b(?!CTE)\w+ Scan .*(?= {2}\(cost)/g) ?? []);
}

describe("the rows are found by the index in its order, and deleted by their place", () => {
  const analyze = () => database.pool.query("analyze memory_job");
  test.for([
    { name: "empty", fill: async () => {} },
    {
      name: "of few rows, analyzed",
      async fill() {
        await insertAged(database.db, 10, 30 * hour);
        await analyze();
      },
    },
    {
      name: "large, all of it expired, never analyzed",
      fill: () => insertAged(database.db, 10_000, 30 * hour),
    },
    {
      name: "large, of which little is expired",
      async fill() {
        await insertPending(database.db, 10_000);
        await insertAged(database.db, 10, 30 * hour);
        await analyze();
      },
    },
    {
      name: "analyzed when nothing had expired",
      async fill() {
        await insertPending(database.db, 100);
        await analyze();
        await insertAged(database.db, 10_000, 30 * hour);
      },
    },
  ])("a table $name", async ({ fill }) => {
    await fill();
    await using explaining = await openExplaining();
    const { session, plans } = explaining;
    // As often as PostgreSQL plans a statement with its parameters, and then without them.
    for (let n = 0; n < 7; n++) {
      plans.length = 0;
      await session.query("select from memory_job_purge(max_rows => 100)");
      expect(scansOf(plans)).toEqual([
        "Index Scan using memory_job_created_at on memory_job",
        "Tid Scan on memory_job",
      ]);
      expect(plans.join()).not.toContain("Sort");
    }
  });
});

test("carrying the lower bound on spares a batch the index entries of those that were deleted", async () => {
  await insertAged(database.db, 3_000, 30 * hour);
  // It keeps the rows from being marked as dead in the index, and removed.
  const reader = await database.pool.connect();
  const purger = await database.pool.connect();
  async function entriesRead(): Promise<number> {
    const { rows } = await purger.query(
      "select pg_stat_get_xact_tuples_returned('memory_job_created_at'::regclass)::integer as read",
    );
    return rows[0].read;
  }
  /** @returns how many index entries a batch of ten rows reads. */
  async function entriesOfBatch(notBefore: unknown): Promise<number> {
    await purger.query("begin");
    const before = await entriesRead();
    await purger.query("select from memory_job_purge(max_rows => 10, not_before => $1)", [notBefore]);
    const after = await entriesRead();
    await purger.query("rollback");
    return after - before;
  }
  try {
    await reader.query("begin isolation level repeatable read; select from memory_job limit 1");
    const { rows } = await purger.query("select newest from memory_job_purge(max_rows => 2900)");
    expect(await entriesOfBatch("-infinity")).toBe(2_910);
    // The newest of those that were deleted, and the ten.
    expect(await entriesOfBatch(rows[0].newest)).toBe(11);
    await reader.query("rollback");
  } finally {
    reader.release();
    purger.release();
  }
});

describe("a partitioned table, where every partition has rows of the same ctid", () => {
  beforeEach(async () => {
    await database.pool.query(`
      alter table memory_job rename to plain;
      create table memory_job (like plain including defaults including constraints, primary key (req_id)) partition by hash (req_id);
      create table job_0 partition of memory_job for values with (modulus 2, remainder 0);
      create table job_1 partition of memory_job for values with (modulus 2, remainder 1);
      create index on memory_job (created_at)`);
  });

  test("the rows are found by the index of each, and deleted by primary key", async () => {
    await insertPending(database.db, 500);
    await insertAged(database.db, 50, 30 * hour);
    await using explaining = await openExplaining();
    const { rows } = await explaining.session.query(
      "select purged, is_last from memory_job_purge(max_rows => 40)",
    );
    expect(rows).toEqual([{ purged: 40, is_last: false }]);
    expect(scansOf(explaining.plans)).toEqual([
      "Index Scan using job_0_created_at_idx on job_0 memory_job_1",
      "Index Scan using job_1_created_at_idx on job_1 memory_job_2",
      "Index Scan using job_0_pkey on job_0 memory_job_1",
      "Index Scan using job_1_pkey on job_1 memory_job_2",
    ]);
    await database.pool.query("select from memory_job_purge()");
    const { rows: left } = await database.pool.query(
      "select count(*) filter (where status = 'pending') as live, count(*) as all from memory_job",
    );
    expect(left).toEqual([{ live: "500", all: "500" }]);
  });
});

describe("ordinary moves stay HOT updates: they add no entry to any index", () => {
  const updates = sql`
    select pg_stat_get_xact_tuples_updated('memory_job'::regclass) as all,
      pg_stat_get_xact_tuples_hot_updated('memory_job'::regclass) as hot`;

  test("pending → processing → success, and failure", async () => {
    const ledger = createJobLedger(database.db);
    const [first, second] = [newReqId(), newReqId()];
    await ledger.create(first);
    await ledger.create(second);
    const counts = await database.db.transaction().execute(async (transaction) => {
      const worker = createJobLedger(transaction);
      await worker.start(first);
      await worker.succeed(first);
      await worker.start(second);
      await worker.fail(second, "it broke");
      return (await updates.execute(transaction)).rows;
    });
    expect(counts).toEqual([{ all: "4", hot: "4" }]);
  });

  test("a failed job that is submitted again is not one, since created_at changes", async () => {
    const failed = newReqId();
    await database.pool.query(
      "insert into memory_job (req_id, status, error, created_at) values ($1, 'failure', 'x', now() - interval '1 hour')",
      [failed],
    );
    const counts = await database.db.transaction().execute(async (transaction) => {
      await createJobLedger(transaction).create(failed);
      return (await updates.execute(transaction)).rows;
    });
    expect(counts).toEqual([{ all: "1", hot: "0" }]);
  });
});
