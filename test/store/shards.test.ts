import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestApp } from "../support/app.ts";
import { type Shards, startShards } from "../support/shards.ts";
import { getStatus } from "../support/store.ts";

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
