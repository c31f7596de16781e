import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cancelStatement, cancelTimeout } from "../../src/store/connections/cancel.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import {
  type StatementPooler,
  startStatementPooler,
} from "../support/ha/statement-pooler/statement-pooler.ts";
import { openTestConnections } from "../support/store.ts";

const started = new AsyncDisposableStack();
let database: TestDatabase;
let pooler: StatementPooler;

beforeAll(async () => {
  database = started.use(await createDatabase());
});

/** A pooler with this number of sessions, for one test. */
async function startPooler(size: number): Promise<AsyncDisposable> {
  pooler = await startStatementPooler(database.url, size);
  return pooler;
}

afterAll(() => started.disposeAsync());

async function connect(): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: pooler.url });
  client.on("error", () => {});
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

const pidOf = { text: "select pg_backend_pid() as pid, $1::text as text" };
const ask = async (client: pg.Client, name: string, text: string) =>
  (await client.query<{ pid: number; text: string }>({ ...pidOf, name, values: [text] })).rows[0];

test("a client's transactions are in different sessions, and its statement is prepared in each of them once", async () => {
  await using _ = await startPooler(2);
  await using client = await connect();
  await using other = await connect();
  await other.query("begin");
  await ask(client, "mine", "first");
  await other.query("rollback");
  const pids = new Set<number | undefined>();
  for (let n = 0; n < 10; n++) {
    const row = await ask(client, "mine", `${n}`);
    expect(row?.text).toBe(`${n}`);
    pids.add(row?.pid);
  }
  expect(pids.size).toBe(2);
  expect(pooler.counts).toEqual({ parses: 1, named: 11, unnamed: 0, parsesOfSessions: 2 });
});

test("clients share a statement by its text, whatever they call it, and none by its name", async () => {
  await using _ = await startPooler(1);
  await using one = await connect();
  await using other = await connect();
  await ask(one, "mine", "a");
  expect(await ask(other, "yours", "b")).toMatchObject({ text: "b" });
  expect(pooler.counts).toMatchObject({ parses: 2, parsesOfSessions: 1 });
  expect((await other.query({ name: "mine", text: "select 7 as n" })).rows).toEqual([{ n: 7 }]);
  expect(await ask(one, "mine", "c")).toMatchObject({ text: "c" });
  const { rows } = await database.pool.query("select 1 from pg_prepared_statements");
  expect(rows).toEqual([]);
});

test("a transaction keeps its session, and other clients wait for it", async () => {
  await using _ = await startPooler(1);
  await using one = await connect();
  await using other = await connect();
  await one.query("begin");
  let isAnswered = false;
  const waiting = ask(other, "mine", "later").then((row) => {
    isAnswered = true;
    return row;
  });
  await ask(one, "mine", "a");
  expect(isAnswered).toBe(false);
  await one.query("commit");
  expect(await waiting).toMatchObject({ text: "later" });
});

test("a statement that failed to be prepared is prepared anew", async () => {
  await using _ = await startPooler(1);
  await using client = await connect();
  const query = { name: "late", text: "select n from late" };
  await expect(client.query(query)).rejects.toMatchObject({ code: "42P01" });
  await database.pool.query("create table late (n int); insert into late values (3)");
  // pg forgets the name after the error, and the pooler does not.
  await using second = await connect();
  expect((await second.query(query)).rows).toEqual([{ n: 3 }]);
  expect(pooler.counts.parsesOfSessions).toBe(2);
});

test("a client that prepares a name twice is disconnected", async () => {
  await using _ = await startPooler(1);
  await using client = await connect();
  await ask(client, "mine", "a");
  // pg sends Parse for a name that it does not know.
  Object.assign((client as unknown as { connection: object }).connection, { parsedStatements: {} });
  await expect(ask(client, "mine", "b")).rejects.toMatchObject({ code: "08P01" });
});

test("a CancelRequest reaches the session in which its client's statement runs", async () => {
  await using _ = await startPooler(1);
  await using connections = openTestConnections(pooler.url, 1);
  const client = await connections.take();
  const failure = expect(client.query("select pg_sleep(60)")).rejects.toMatchObject({ code: "57014" });
  const isSleeping = async () =>
    (await database.pool.query("select 1 from pg_stat_activity where query ~ '^select pg_sleep'")).rowCount;
  await expect.poll(isSleeping).toBe(1);
  await cancelStatement(client, cancelTimeout);
  await failure;
  client.release();
});

test("a client that disconnects within a transaction leaves it to no other", async () => {
  await using _ = await startPooler(1);
  const client = await connect();
  await client.query("begin; create table of_the_transaction (n int)");
  await client.end();
  await using other = await connect();
  await expect(other.query("select from of_the_transaction")).rejects.toMatchObject({ code: "42P01" });
});
