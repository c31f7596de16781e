import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestApp } from "../support/app.ts";
import { type Shards, startShards } from "../support/shards.ts";

let shards: Shards;
let dead: string[];
let living: string[];

beforeAll(async () => {
  shards = await startShards(3);
  const [first = [], ...others] = await shards.insertJobs(150);
  dead = first;
  living = others.flat();
});

afterAll(() => shards[Symbol.asyncDispose]());

async function ask(url: string, reqId: string): Promise<string> {
  const response = await fetch(`${url}/get_status/${reqId}`);
  const { status } = (await response.json()) as { status?: string };
  return status ?? response.headers.get("error-reason") ?? "";
}

test("one dead server of several fails only the ids that live there", async () => {
  await using app = await startTestApp({
    DATABASE_URL: shards.url,
    MAX_WHEN_BUSY: "4096",
    REQUEST_TIMEOUT: "20s",
  });
  const askAll = async (ids: string[]) => new Set(await Promise.all(ids.map((id) => ask(app.url, id))));
  expect(await askAll([...dead, ...living])).toEqual(new Set(["success"]));

  shards.servers[0]?.cut();
  for (let round = 0; round < 5; round++) {
    // Mixed, so that statements for many ids have ids of both kinds.
    const [ofDead, ofLiving] = await Promise.all([askAll(dead.slice(0, 10)), askAll(living)]);
    expect(ofDead).toEqual(new Set(["DATASTORE_UNAVAILABLE"]));
    expect(ofLiving).toEqual(new Set(["success"]));
  }
  expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
  expect(JSON.stringify(app.logs)).not.toContain("the database is gone");

  await shards.servers[0]?.mend();
  expect(await askAll([...dead, ...living])).toEqual(new Set(["success"]));
});
