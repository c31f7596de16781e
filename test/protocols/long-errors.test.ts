import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { longestError } from "../../src/status/status.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { protocols } from "../support/protocols.ts";

const texts = [
  { name: "5 MB of ASCII", text: "x".repeat(5_000_000), cut: "x".repeat(longestError) },
  { name: "characters of two code units", text: "😀".repeat(100_000), cut: "😀".repeat(longestError) },
  { name: "as long as it may be", text: "ü".repeat(longestError), cut: "ü".repeat(longestError) },
];

// Rows that are older than the trigger which cuts them. SQL_ASCII knows no characters.
describe.for([
  "UTF8",
  "SQL_ASCII",
])("an error that is longer than the contract's, in a database in %s", (encoding) => {
  let database: TestDatabase;
  let app: TestApp;
  const reqIds = new Map(texts.map(({ name }) => [name, randomUUID()]));

  beforeAll(async () => {
    database = await createDatabase({ encoding });
    await database.pool.query("alter table memory_job disable trigger user");
    for (const { name, text } of texts) {
      const insert = "insert into memory_job (req_id, status, error) values ($1, 'failure', $2)";
      await database.pool.query(insert, [reqIds.get(name), text]);
    }
    app = await startTestApp({ DATABASE_URL: database.url });
  });

  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  describe.for(texts)("$name", ({ name, cut }) => {
    test.for(protocols)("reaches a client with default limits: $name", async ({ open }) => {
      const client = open(app.url);
      const answer = await client.ask(reqIds.get(name) ?? "");
      client.close();
      expect(answer).toHaveProperty("json");
      expect(JSON.parse((answer as { json: string }).json).error).toBe(cut);
    });
  });
});
