import { sql } from "kysely";
import { expect, test } from "vitest";
import { checkSchema, migrate } from "../src/store/migrate.ts";
import { createDatabase } from "./support/database.ts";

test("migrates an empty database, and then finds nothing to do", async () => {
  await using database = await createDatabase({ migrated: false });
  expect(await migrate(database.db)).toEqual(["0001-memory-job"]);
  expect(await migrate(database.db)).toEqual([]);
  await checkSchema(database.db);
});

test("several at once: each migration runs once, and all of them end well", async () => {
  await using database = await createDatabase({ migrated: false });
  const ran = await Promise.all([migrate(database.db), migrate(database.db), migrate(database.db)]);
  expect(ran.flat()).toEqual(["0001-memory-job"]);
});

test("an older schema is refused, with the command that mends it", async () => {
  await using database = await createDatabase({ migrated: false });
  await expect(checkSchema(database.db)).rejects.toThrow(/0001-memory-job.*npm run migrate.*MIGRATE=true/s);
});

test("a schema that a newer version made is refused, by serve and by migrate", async () => {
  await using database = await createDatabase();
  await sql`insert into kysely_migration (name, timestamp) values ('9999-later', now()::text)`.execute(
    database.db,
  );
  await expect(checkSchema(database.db)).rejects.toThrow(/9999-later.*newer/s);
  await expect(migrate(database.db)).rejects.toThrow(/9999-later.*newer/s);
});
