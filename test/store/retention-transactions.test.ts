import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findOldTransactions } from "../../src/store/jobs/old-transactions.ts";
import { openRetention } from "../../src/store/jobs/retention.ts";
import { migrate } from "../../src/store/schema/migrate.ts";
import type { Tables } from "../../src/store/schema/tables.ts";
import { createLogin } from "../support/roles.ts";
import { type Primary, startPrimary } from "../support/standby.ts";
import { poolOptions } from "../support/store.ts";

let primary: Primary;
let pool: pg.Pool;
let db: Kysely<Tables>;

beforeAll(async () => {
  primary = await startPrimary();
  pool = new pg.Pool({ connectionString: primary.url, max: 3 });
  // The server may stop before the last connection has closed.
  pool.on("connect", (client) => client.on("error", () => {}));
  db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  await migrate(db);
});

afterAll(async () => {
  await pool.end();
  await primary[Symbol.asyncDispose]();
});

/** Those of any age. */
const found = (of = db) => findOldTransactions(of, 0);

test("none is old", async () => {
  expect(await found()).toEqual([]);
  await using retention = openRetention({ url: primary.url, ...poolOptions });
  expect(await retention.oldTransactions()).toEqual([]);
});

/** A transaction that stays open until it is disposed of. @returns its process id, too. */
async function open(statements: string, database = "postgres") {
  const url = Object.assign(new URL(primary.url), { pathname: database, search: "application_name=report" });
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  await client.query(`begin isolation level ${statements}`);
  const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
  return { pid: rows[0]?.pid, [Symbol.asyncDispose]: () => client.end() };
}

const reads = "repeatable read; select from pg_class limit 1";
const writes =
  "read committed; insert into memory_job (req_id, status) values (gen_random_uuid(), 'pending')";
const holderOf = ({ pid }: { pid: number | undefined }) => ({
  holder: `process ${pid} (role postgres, report, idle in transaction)`,
  since: expect.any(Date),
});

test.for([
  ["keeps a snapshot", reads],
  ["has written", writes],
] as const)("a session that %s is named, once it is old", async ([, statements]) => {
  await using session = await open(statements);
  expect(await found()).toEqual([holderOf(session)]);
  // Ten minutes have not passed.
  expect(await findOldTransactions(db)).toEqual([]);
});

test("the oldest is named first", async () => {
  await using first = await open(writes);
  await using second = await open(writes);
  expect(await found()).toEqual([holderOf(first), holderOf(second)]);
});

test("a session that neither keeps a snapshot nor has written is not named", async () => {
  await using _ = await open("read committed; select from memory_job");
  expect(await found()).toEqual([]);
});

test("those of another database do not matter", async () => {
  await pool.query("create database other");
  await using _ = await open(reads, "other");
  expect(await found()).toEqual([]);
});

test("those of other roles are named to members of pg_read_all_stats", async () => {
  await using purger = await createLogin({ url: primary.url, pool }, "gomemory_purger");
  await using session = await open(reads);
  expect(await found(purger.db)).toEqual([]);
  await pool.query(`grant pg_read_all_stats to ${new URL(purger.url).username}`);
  expect(await found(purger.db)).toEqual([holderOf(session)]);
});

test("a prepared transaction", async () => {
  const client = await pool.connect();
  await client.query(
    "begin; insert into memory_job (req_id, status) values (gen_random_uuid(), 'pending'); prepare transaction 'forgotten'",
  );
  client.release();
  try {
    expect(await found()).toEqual([
      { holder: "prepared transaction forgotten (role postgres)", since: expect.any(Date) },
    ]);
  } finally {
    await pool.query("rollback prepared 'forgotten'");
  }
});

test("the replication slot of a standby that asked to keep rows, and is gone", async () => {
  const standby = await primary.addStandby();
  await standby.execute("alter system set hot_standby_feedback = on");
  await standby.execute("select pg_reload_conf()");
  const asked = async () =>
    (await pool.query("select from pg_replication_slots where xmin is not null")).rowCount;
  await expect.poll(asked).toBe(1);
  expect(await found()).toEqual([]);
  await standby.stop();
  const { rows } = await pool.query("select slot_name from pg_replication_slots");
  const inactive = async () => await found();
  await expect
    .poll(inactive)
    .toEqual([{ holder: `replication slot ${rows[0].slot_name} (inactive)`, since: undefined }]);
  await pool.query("select pg_drop_replication_slot(slot_name) from pg_replication_slots");
});
