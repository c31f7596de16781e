import { afterAll, beforeAll, expect, test } from "vitest";
import type { ReqId } from "../../src/status/req-id.ts";
import { nameOf } from "../../src/store/reads/statement-messages.ts";
import { statusQueries } from "../../src/store/reads/status-query.ts";
import { createStatusStore } from "../../src/store/reads/status-store.ts";
import { startTestApp } from "../support/app.ts";
import { explainPrepared } from "../support/plans.ts";
import { type Shards, startShards } from "../support/shards.ts";
import { callWithin, getStatus, openTestConnections, wordsOf } from "../support/store.ts";

let shards: Shards;
let unreachable: string[];
let reachable: string[];

beforeAll(async () => {
  shards = await startShards(3);
  const [first = [], ...others] = await shards.insertJobs(150);
  unreachable = first;
  reachable = others.flat();
});

afterAll(() => shards[Symbol.asyncDispose]());

test("one unavailable server of several fails only the ids that are stored there", async () => {
  await using app = await startTestApp({
    DATABASE_URL: shards.url,
    MAX_WHEN_BUSY: "4096",
    REQUEST_TIMEOUT: "20s",
  });
  const getAll = async (ids: string[]) => new Set(await Promise.all(ids.map((id) => getStatus(app.url, id))));
  expect(await getAll([...unreachable, ...reachable])).toEqual(new Set(["success"]));

  shards.servers[0]?.cut();
  for (let round = 0; round < 5; round++) {
    // Mixed, so that statements for many ids have ids of both kinds.
    const [ofUnreachable, ofReachable] = await Promise.all([
      getAll(unreachable.slice(0, 10)),
      getAll(reachable),
    ]);
    expect(ofUnreachable).toEqual(new Set(["DATASTORE_UNAVAILABLE"]));
    expect(ofReachable).toEqual(new Set(["success"]));
  }
  expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
  expect(JSON.stringify(app.logs)).not.toContain("the database is gone");

  await shards.servers[0]?.mend();
  expect(await getAll([...unreachable, ...reachable])).toEqual(new Set(["success"]));
});

/** Opens a store with one connection, and reads often enough that PostgreSQL may use generic plans. */
async function readOften(ids: readonly ReqId[]) {
  const connections = openTestConnections(shards.url, 1, 10_000);
  const statements: number[] = [];
  const failures: unknown[] = [];
  const store = createStatusStore(connections, {
    engine: { isDistributed: true },
    longestUse: Number.POSITIVE_INFINITY,
    onStatement: (count) => statements.push(count),
    onFailure: (error) => failures.push(error),
  });
  for (let n = 0; n < 10; n++) await store.findMany(ids, callWithin());
  statements.length = 0;
  return { connections, store, statements, failures };
}

test.for([
  1, 2, 5, 8,
])("a statement for %i ids asks only the servers that store them, by a generic plan, too", async (count) => {
  const ids = reachable.slice(0, count) as ReqId[];
  const { connections, store, statements, failures } = await readOften(ids);
  await using _ = connections;
  const client = await connections.take();
  await client.query("set plan_cache_mode = force_generic_plan");
  const { sql, parameters } = statusQueries(connections.db).byIds(ids);
  const plan = await explainPrepared(client, nameOf(sql), parameters);
  await client.query("reset plan_cache_mode");
  client.release();
  expect(plan.pruned).toBeGreaterThanOrEqual(1);
  expect(plan.scans.length).toBe(3 - plan.pruned);

  shards.servers[0]?.cut();
  const words = wordsOf(await store.findMany(ids, callWithin()));
  await shards.servers[0]?.mend();
  expect(words).toEqual(ids.map(() => "success"));
  expect({ statements, failures }).toEqual({ statements: [count], failures: [] });
});

test("a statement for many ids asks only the servers that store them, however often it was run", async () => {
  const ids = [...reachable.slice(0, 8), ...reachable.slice(-8)] as ReqId[];
  // Ids of every server: the generic plan, which asks them all, costs no more than a custom one.
  const mixed = [...ids, ...unreachable.slice(0, 8)] as ReqId[];
  const { connections, store, statements, failures } = await readOften(mixed);
  await using _ = connections;

  shards.servers[0]?.cut();
  const words = wordsOf(await store.findMany(ids, callWithin()));
  await shards.servers[0]?.mend();
  expect(words).toEqual(ids.map(() => "success"));
  expect({ statements, failures }).toEqual({ statements: [16], failures: [] });
});

test("one unavailable server of several fails only the ids that are stored there: calls that wait", async () => {
  const ids = [...unreachable.slice(0, 40), ...reachable.slice(0, 80)] as ReqId[];
  const { connections, store } = await readOften(ids);
  await using _ = connections;
  expect(new Set(wordsOf(await store.poll(ids, callWithin())))).toEqual(new Set(["success"]));

  shards.servers[0]?.cut();
  const outcomes = await store.poll(ids, callWithin());
  await shards.servers[0]?.mend();
  const [words, stored] = [wordsOf(outcomes), [...outcomes.keys()]];
  expect(stored.filter((_, at) => words[at] === "success")).toEqual(ids.slice(40));
  expect(new Set(words.slice(0, 40))).toEqual(new Set(["DATASTORE_UNAVAILABLE"]));
});
