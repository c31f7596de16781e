import fc from "fast-check";
import { CompiledQuery } from "kysely";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TextQuery } from "../../src/store/reads/text-query.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";

let database: TestDatabase;
let client: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  client = new pg.Client(database.url);
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await database[Symbol.asyncDispose]();
});

const ask = (...queries: CompiledQuery[]) => client.query(new TextQuery(queries)).rows;

/** PostgreSQL's texts hold everything but NUL. */
const text = fc.string({ unit: "binary", maxLength: 300 }).map((value) => value.replaceAll("\0", ""));

test("every text reaches PostgreSQL, and comes back, as it is", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 5 }), async (values) => {
      const columns = values.map((_, index) => `$${index + 1}::text`);
      expect(await ask(CompiledQuery.raw(`select ${columns.join()}`, values))).toEqual([values]);
    }),
    { numRuns: 500 },
  );
});

test("two statements are one transaction: the same moment, and the rows of both in order", async () => {
  const now = CompiledQuery.raw("select now()::text, $1::text", ["first"]);
  const twice = CompiledQuery.raw("select now()::text, n::text from generate_series(1, $1::int) n", ["2"]);
  const [first, second, third] = await ask(now, twice);
  expect([first?.[1], second?.[1], third?.[1]]).toEqual(["first", "1", "2"]);
  expect(new Set([first?.[0], second?.[0], third?.[0]]).size).toBe(1);
});

test("an error is the statement's, and the connection is as good as before", async () => {
  await expect(ask(CompiledQuery.raw("select $1::int", ["no number"]))).rejects.toBeInstanceOf(
    pg.DatabaseError,
  );
  expect(await ask(CompiledQuery.raw("select $1::text", ["well"]))).toEqual([["well"]]);
});
