import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import { type Database, openDatabase } from "../../src/store/database.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { startPgbouncer } from "../support/ha/pgbouncer.ts";
import { installPrograms, type Programs, skipped } from "../support/ha/programs.ts";
import { startStatementPooler } from "../support/ha/statement-pooler/statement-pooler.ts";
import { startReplicated } from "../support/replicated.ts";
import { insertJob } from "../support/rows.ts";
import { callWithin, poolOptions } from "../support/store.ts";

describe.skipIf(skipped)("prepared statements of a store behind a pooler", () => {
  const started = new AsyncDisposableStack();
  let programs: Programs;
  let database: TestDatabase;
  let reqIds: ReqId[];

  beforeAll(async () => {
    programs = started.use(await installPrograms());
    database = started.use(await createDatabase());
    reqIds = [await insertJob(database.db), await insertJob(database.db)].map((id) => parseReqId(id));
  });

  afterAll(() => started.disposeAsync());

  /** Reads one id, and then several. */
  async function read({ statuses }: Database): Promise<void> {
    const pending = expect.objectContaining({ status: "pending" });
    expect(await statuses.find(reqIds[0] as ReqId, callWithin())).toEqual(pending);
    const many = await statuses.findMany(reqIds, callWithin());
    expect([...many.values()]).toEqual(reqIds.map(() => pending));
  }

  test("one that keeps statements: they are prepared once in each session, and run by their names", async () => {
    await using pooler = await startStatementPooler(database.url, 2);
    let notKept = 0;
    await using store = openDatabase({
      url: pooler.url,
      size: 1,
      ...poolOptions,
      onBreaker() {},
      onNotKept: () => notKept++,
    });
    // While another client is in a transaction, the second session is opened.
    await store.db.connection().execute(async (other) => {
      await sql`begin`.execute(other);
      await sql`rollback`.execute(other);
    });
    const calls = 50;
    for (let n = 0; n < calls; n++) await read(store);
    expect(notKept).toBe(0);
    expect(pooler.counts.named).toBe(2 * calls);
    // The statement for one id, and the one for several.
    expect(pooler.counts.parsesOfSessions).toBeLessThanOrEqual(2 * 2);
    expect(pooler.counts.parses).toBeLessThan(calls);
  });

  test("one that keeps statements whose columns have changed since: reads are repeated unnamed", async () => {
    await using altered = await createDatabase();
    await using pooler = await startStatementPooler(altered.url, 1);
    const reqId = parseReqId(await insertJob(altered.db));
    const errors: unknown[] = [];
    await using store = openDatabase({
      url: pooler.url,
      size: 1,
      ...poolOptions,
      unnamedDuration: 0,
      onBreaker() {},
      onNotKept: (error) => errors.push(error),
    });
    const find = () => store.statuses.find(reqId, callWithin());
    expect(await find()).toMatchObject({ status: "pending" });
    await altered.pool.query("alter table memory_job alter status type varchar");
    // The pooler answers the next Parse by itself, and its session keeps the statement as it was.
    for (let n = 1; n <= 3; n++) {
      expect(await find()).toMatchObject({ status: "pending" });
      expect(errors).toHaveLength(n);
    }
    for (const error of errors) expect(error).toMatchObject({ code: "0A000" });
  });

  test("a replica: both its freshness check and the statement are prepared", async () => {
    await using replicated = await startReplicated();
    await using pooler = await startStatementPooler(replicated.standby.url, 1);
    let statements = 0;
    const roles: string[] = [];
    await using replica = replicated.openReplica(pooler.url, {
      onStatement: () => statements++,
      onRead: (role) => roles.push(role),
    });
    const reqId = await replicated.submit();
    await expect
      .poll(async () => {
        await replica.statuses.find(reqId, callWithin());
        return roles.filter((role) => role === "replica").length;
      })
      .toBeGreaterThan(10);
    expect(pooler.counts.named).toBe(2 * statements);
    expect(pooler.counts.parsesOfSessions).toBe(2);
  });

  test.for([
    { name: "transactions in different sessions", settings: {} },
    {
      name: "`DISCARD ALL` after each transaction",
      settings: { server_reset_query: "DISCARD ALL", server_reset_query_always: "1" },
    },
  ])("one that keeps none, $name: `auto` goes without for a time, and tries again", async ({ settings }) => {
    await using pooler = await startPgbouncer(programs, database.url, settings);
    const errors: unknown[] = [];
    await using store = openDatabase({
      url: pooler.url,
      size: 3,
      ...poolOptions,
      unnamedDuration: 100,
      onBreaker() {},
      onNotKept: (error) => errors.push(error),
    });
    await openSessions(store);
    // Two are certain, and no more: what the pooler does not discard stays in the three sessions, until each has the statements.
    await expect
      .poll(
        async () => {
          await read(store);
          return errors.length;
        },
        { interval: 0 },
      )
      .toBeGreaterThanOrEqual(2);
    for (const error of errors) expect(error).toMatchObject({ code: "26000" });
  });

  /** Has the pooler open a session for each connection of the store: it opens one when all others are in use. */
  async function openSessions({ db }: Database): Promise<void> {
    await Promise.all([1, 2, 3].map(() => sql`select pg_sleep(0.2)`.execute(db)));
  }
});
