import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

let database: TestDatabase;
let reqId: string;

beforeAll(async () => {
  database = await createDatabase();
  reqId = await insertJob(database.db, { status: "failure", error: "it broke", age: 12_345 });
});

afterAll(() => database[Symbol.asyncDispose]());

// As `alter role … set` has them, too.
const settings = [
  "extra_float_digits=-15",
  "extra_float_digits=-6",
  "DateStyle=German",
  "IntervalStyle=sql_standard",
  "TimeZone=Pacific/Apia",
  "bytea_output=escape",
  "standard_conforming_strings=off",
  "backslash_quote=on",
  "plan_cache_mode=force_generic_plan",
  "default_transaction_read_only=on",
];

test.for(settings)("the answer is exact whatever the session's settings: %s", async (setting) => {
  const url = new URL(database.url);
  url.search = `options=${encodeURIComponent(`-c ${setting}`)}`;
  await using app = await startTestApp({ DATABASE_URL: url.href });
  const response = await fetch(`${app.url}/get_status/${reqId}`);
  expect(await response.text()).toBe(await documentedJson(database.db, reqId));
});
