import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { Connections } from "../../src/store/connections/connections.ts";
import { createPreparedStatements } from "../../src/store/reads/prepared-statements.ts";
import { createReader } from "../../src/store/reads/reader.ts";
import { nameOf } from "../../src/store/reads/statement-messages.ts";
import { statusQueries } from "../../src/store/reads/status-query.ts";
import { createFreshness } from "../../src/store/replica/freshness.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { explainPrepared, explainUnnamed } from "../support/plans.ts";
import { insertPending } from "../support/rows.ts";
import { newReqId, openTestConnections } from "../support/store.ts";

/** PostgreSQL plans a prepared statement with its parameters this often before it considers a generic plan. */
const customPlans = 5;

/** Large enough for the plans of a million rows: docs/explain/statements.md. */
const large = 10_000;

/** One page, almost full, so that the rows that PostgreSQL expects of a page are those that a large table has. */
const few = 100;

const seqScan = "Seq Scan on memory_job";
const byPrimaryKey = ["Index Scan on memory_job_pkey", "Bitmap Index Scan on memory_job_pkey"];

const analyze = (database: TestDatabase) => database.pool.query("vacuum analyze memory_job");

/** Autovacuum is off on the server of the tests: a table that is not analyzed here never is. */
const tables = [
  { name: "migrated and empty", fill: async () => {}, scans: byPrimaryKey },
  {
    name: "of few rows, never analyzed",
    fill: (database: TestDatabase) => insertPending(database.db, few),
    scans: byPrimaryKey,
  },
  {
    name: "of few rows, analyzed",
    async fill(database: TestDatabase) {
      await insertPending(database.db, few);
      await analyze(database);
    },
    scans: [seqScan],
  },
  {
    name: "large, never analyzed",
    fill: (database: TestDatabase) => insertPending(database.db, large),
    scans: byPrimaryKey,
  },
  {
    name: "large, analyzed",
    async fill(database: TestDatabase) {
      await insertPending(database.db, large);
      await analyze(database);
    },
    scans: byPrimaryKey,
  },
  {
    name: "analyzed when it had few rows, and large since",
    async fill(database: TestDatabase) {
      await insertPending(database.db, few);
      await analyze(database);
      await insertPending(database.db, large);
    },
    scans: byPrimaryKey,
  },
];

/** The statements of lookups, and of calls that wait. */
const methods = ["byIds", "polledByIds"] as const;

/** A reader whose statements all run on one connection, on which they are then explained. */
function openReader(connections: Connections, method: (typeof methods)[number] = "byIds") {
  const reader = createReader(connections, { preparedStatements: createPreparedStatements() });
  const queries = statusQueries(connections.db);
  return {
    /** Reads the ids until PostgreSQL may use a generic plan. */
    async readOften(ids: readonly string[]) {
      for (let n = 0; n <= customPlans; n++) await this.read(ids);
    },
    read: (ids: readonly string[]) => reader.start(queries[method](ids as never)).rows,
    /** @param setting of `plan_cache_mode`. */
    async explain(ids: readonly string[], setting = "auto") {
      reader.releaseConnections();
      const connection = await connections.take();
      try {
        const { sql, parameters } = queries[method](ids as never);
        await connection.query(`set plan_cache_mode = ${setting}`);
        const prepared = await explainPrepared(connection, nameOf(sql), parameters);
        return { prepared, unnamed: await explainUnnamed(connection, sql, parameters) };
      } finally {
        await connection.query("reset plan_cache_mode");
        connection.release();
      }
    },
  };
}

describe.each(tables)("a table $name", ({ fill, scans }) => {
  let database: TestDatabase;
  let stored: string[];

  beforeAll(async () => {
    database = await createDatabase();
    await fill(database);
    const { rows } = await database.pool.query("select req_id from memory_job limit 1000");
    stored = rows.map((row) => row.req_id);
  });

  afterAll(() => database[Symbol.asyncDispose]());

  const cases = methods.flatMap((method) =>
    [1, 2, 3, 8, 32, 256, 500, 1_000].map((count) => ({ method, count })),
  );
  test.for(
    cases,
  )("the generic plan for $count ids is as good as that of an unnamed statement: $method", async ({
    method,
    count,
  }) => {
    await using connections = openTestConnections(database.url, 1);
    const reader = openReader(connections, method);
    const ids = Array.from({ length: count }, (_, index) => stored[index] ?? newReqId());
    await reader.readOften(ids);
    for (const setting of ["auto", "force_generic_plan"]) {
      const { prepared, unnamed } = await reader.explain(ids, setting);
      expect([prepared.isGeneric, unnamed.isGeneric]).toEqual([true, false]);
      // For more ids than it expects rows, an unnamed statement may read the whole of a small table.
      const isSmall = count > 256 && stored.length <= few;
      if (!isSmall || !unnamed.scans.includes(seqScan)) {
        expect(prepared.scans).toEqual(unnamed.scans);
        expect(prepared.pages).toBeLessThanOrEqual(unnamed.pages);
      }
      expect(scans).toEqual(expect.arrayContaining([...prepared.scans]));
      expect(prepared.scans).toHaveLength(1);
    }
  });
});

describe("a table that was analyzed when it had few rows, and has grown since a statement was prepared", () => {
  afterEach(() => void vi.useRealTimers());

  test.for([1, 32, 256, 500])("is scanned for %i ids for a second, and not afterwards", async (count) => {
    await using database = await createDatabase();
    await using connections = openTestConnections(database.url, 1);
    const reader = openReader(connections);
    vi.useFakeTimers({ toFake: ["performance"] });
    const old = await insertPending(database.db, few);
    await analyze(database);
    const before = Array.from({ length: count }, (_, index) => old[index] ?? newReqId());
    await reader.readOften(before);

    const ids = (await insertPending(database.db, large)).slice(0, count);
    await reader.readOften(ids);
    expect((await reader.explain(ids)).prepared).toMatchObject({
      isGeneric: true,
      scans: ["Seq Scan on memory_job"],
    });

    vi.advanceTimersByTime(1_000);
    await reader.read(ids);
    expect(byPrimaryKey).toEqual(expect.arrayContaining([...(await reader.explain(ids)).prepared.scans]));
    await reader.readOften(ids);
    const { prepared, unnamed } = await reader.explain(ids);
    expect(prepared.isGeneric).toBe(true);
    expect(byPrimaryKey).toEqual(expect.arrayContaining([...prepared.scans]));
    expect(prepared.pages).toBeLessThanOrEqual(unnamed.pages);
  });
});

test("the statement that checks the freshness of a replica reads no table: its plan cannot become worse", async () => {
  await using database = await createDatabase();
  await using connections = openTestConnections(database.url, 1);
  const { query } = createFreshness(1_000);
  const reader = createReader(connections, { preparedStatements: createPreparedStatements() });
  for (let n = 0; n <= customPlans; n++) await reader.start(query).rows;
  reader.releaseConnections();
  const connection = await connections.take();
  const { scans, pages } = await explainPrepared(connection, nameOf(query.sql), []);
  connection.release();
  expect({ scans, pages }).toEqual({ scans: [], pages: 0 });
});
