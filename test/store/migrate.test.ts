import { sql } from "kysely";
import pg from "pg";
import { describe, expect, test } from "vitest";
import { migrate } from "../../src/store/schema/migrate.ts";
import { type Migration, migrations } from "../../src/store/schema/migrations/migrations.ts";
import { checkSchema, describeSchema, readMigrations } from "../../src/store/schema/schema.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { migrateAsPrevious, startsAsPrevious } from "../support/previous-version.ts";
import { insertJob } from "../support/rows.ts";
import { createUnprivilegedLogin, openSession } from "../support/schemas.ts";

const names = migrations.map(({ name }) => name);

/** What the list of a schema holds. */
async function listed({ pool }: Pick<TestDatabase, "pool">, schema = "public"): Promise<string[]> {
  const { rows } = await pool.query(`select name from ${schema}.memory_job_migration order by name`);
  return rows.map(({ name }) => name);
}

/** A transaction of another session, open until it is disposed of. */
async function holdOpen({ url }: { url: string }, statement: string) {
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query(`begin; ${statement}`);
  const { rows } = await holder.query<{ pid: number }>("select pg_backend_pid() as pid");
  let ended: Promise<void> | undefined;
  return {
    pid: rows[0]?.pid,
    [Symbol.asyncDispose]() {
      ended ??= holder.end();
      return ended;
    },
  };
}

test("migrates an empty database, and then finds nothing to do", async () => {
  await using database = await createDatabase({ migrated: false });
  expect(await migrate(database.db)).toEqual({ ran: names, unknown: [] });
  expect(await migrate(database.db)).toEqual({ ran: [], unknown: [] });
  expect(await listed(database)).toEqual(names);
  expect(await checkSchema(database.db)).toEqual([]);
});

test("several at once: each migration runs once, and all of them end well", async () => {
  await using database = await createDatabase({ migrated: false });
  const results = await Promise.all([migrate(database.db), migrate(database.db), migrate(database.db)]);
  expect(results.flatMap(({ ran }) => ran).toSorted()).toEqual(names);
});

describe("what went wrong first is what is said", () => {
  test("permission denied", async () => {
    await using database = await createDatabase({ migrated: false });
    await using unprivileged = await createUnprivilegedLogin(database);
    await expect(migrate(unprivileged.db)).rejects.toMatchObject({ code: "42501" });
  });

  test("a database that only reads", async () => {
    await using database = await createDatabase({ migrated: false });
    await using readOnly = openSession(database.url, "-c default_transaction_read_only=on");
    await expect(migrate(readOnly.db)).rejects.toMatchObject({ code: "25006" });
  });

  test("a connection that is lost in the middle, and not that the rollback failed as well", async () => {
    await using database = await createDatabase({ migrated: false });
    // A pool has no error listener on a connection that is in use.
    database.pool.on("connect", (client) => client.on("error", () => {}));
    const suicidal: Migration = {
      name: "0001-suicidal",
      up: async (db) => void (await sql`select pg_terminate_backend(pg_backend_pid())`.execute(db)),
    };
    await expect(migrate(database.db, { migrations: [suicidal] })).rejects.toMatchObject({ code: "57P01" });
  });

  test("a failed migration leaves nothing behind, and those before it stand", async () => {
    await using database = await createDatabase({ migrated: false });
    const failing: Migration = {
      name: "9999-failing",
      up: async (db) => void (await sql`create table half (); select 1 / 0`.execute(db)),
    };
    const attempt = migrate(database.db, { migrations: [...migrations, failing] });
    await expect(attempt).rejects.toMatchObject({ code: "22012" });
    expect(await listed(database)).toEqual(names);
    expect((await database.pool.query("select to_regclass('half') as found")).rows).toEqual([
      { found: null },
    ]);
  });
});

describe("the table is where the search path begins, and its list beside it", () => {
  test("no schema that there is", async () => {
    await using database = await createDatabase({ migrated: false });
    await using session = openSession(database.url, "-c search_path=nowhere");
    await expect(migrate(session.db)).rejects.toThrow(/no schema of the search_path \(nowhere\) exists/);
  });

  test("another application's kysely_migration in the same schema is left alone", async () => {
    await using database = await createDatabase({ migrated: false });
    await database.pool.query(`
      create table kysely_migration (name varchar(255) primary key, timestamp varchar(255) not null);
      insert into kysely_migration values ('2024-users', '2024-01-01T00:00:00.000Z')`);
    expect(await migrate(database.db)).toEqual({ ran: names, unknown: [] });
    expect(await checkSchema(database.db)).toEqual([]);
    const { rows } = await database.pool.query("select name from kysely_migration");
    expect(rows).toEqual([{ name: "2024-users" }]);
  });

  test("another application's kysely_migration in another schema, or of another shape, is left alone", async () => {
    await using database = await createDatabase({ migrated: false });
    await database.pool.query(`
      create schema theirs;
      create table theirs.kysely_migration (name varchar(255) primary key, timestamp varchar(255) not null);
      insert into theirs.kysely_migration values ('2024-users', '2024-01-01T00:00:00.000Z');
      create table kysely_migration (number int)`);
    await using session = openSession(database.url, "-c search_path=public,theirs");
    expect(await migrate(session.db)).toEqual({ ran: names, unknown: [] });
    expect(await checkSchema(session.db)).toEqual([]);
  });

  test("a memory_job of a later schema is another one", async () => {
    await using database = await createDatabase();
    await database.pool.query("create schema ours");
    const reqId = await insertJob(database.db);
    await using session = openSession(database.url, "-c search_path=ours,public");
    expect(await migrate(session.db)).toEqual({ ran: names, unknown: [] });
    expect(await listed(database, "ours")).toEqual(names);
    const { rows } = await session.pool.query("select from memory_job where req_id = $1", [reqId]);
    expect(rows).toEqual([]);
    const { rows: triggers } = await session.pool.query(
      "select distinct tgrelid::regclass::text as on from pg_trigger where tgname ~ '^memory_job' order by 1",
    );
    expect(triggers).toEqual([{ on: "memory_job" }, { on: "public.memory_job" }]);
  });

  test("a database of the previous version: its record is copied, and it goes on running", async () => {
    await using database = await createDatabase({ migrated: false });
    await migrateAsPrevious(database.db);
    expect(await checkSchema(database.db)).toEqual([
      expect.stringMatching(/lacks 5 of 6 migrations \(0002-error-limit, .*\): run `npm run migrate`/),
    ]);
    expect(await migrate(database.db)).toEqual({ ran: names.slice(1), unknown: [] });
    expect(await listed(database)).toEqual(names);
    expect(await checkSchema(database.db)).toEqual([]);
    expect(await startsAsPrevious(database.db)).toBe(true);
    await migrateAsPrevious(database.db);
  });

  test("of a kysely_migration that was shared, only what is ours is copied", async () => {
    await using database = await createDatabase({ migrated: false });
    await migrateAsPrevious(database.db);
    await database.pool.query(
      "insert into kysely_migration values ('2024-users', '2024-01-01T00:00:00.000Z')",
    );
    expect(await migrate(database.db)).toEqual({ ran: names.slice(1), unknown: [] });
    expect(await listed(database)).toEqual(names);
  });

  test("a table that no migration made is not touched", async () => {
    await using database = await createDatabase({ migrated: false });
    await database.pool.query("create table memory_job (req_id uuid primary key)");
    await expect(migrate(database.db)).rejects.toThrow(
      /there is a table memory_job in schema public, and nothing/,
    );
  });
});

describe("a schema that a newer version made", () => {
  const later = "9999-of-tomorrow";

  test("migrate changes nothing, and reports that", async () => {
    await using database = await createDatabase();
    await database.pool.query(`
      insert into memory_job_migration values ('${later}');
      delete from memory_job_migration where name = '${names.at(-1)}'`);
    expect(await migrate(database.db)).toEqual({ ran: [], unknown: [later] });
    expect(await listed(database)).toEqual([...names.slice(0, -1), later]);
  });

  test("the service is warned, and works", async () => {
    await using database = await createDatabase();
    await database.pool.query(`insert into memory_job_migration values ('${later}')`);
    expect(await checkSchema(database.db)).toEqual([
      `a newer version of the service has migrated the database (${later})`,
    ]);
  });
});

describe("a role that cannot see the table gets an error that tells why", () => {
  test("there is none", async () => {
    await using database = await createDatabase({ migrated: false });
    await expect(checkSchema(database.db)).rejects.toThrow(
      "there is no table memory_job in the search_path (public): run `npm run migrate`, or start with MIGRATE=true",
    );
  });

  test("it has no USAGE on the schema", async () => {
    await using database = await createDatabase();
    await database.pool.query("revoke usage on schema public from public");
    await using unprivileged = await createUnprivilegedLogin(database);
    await expect(checkSchema(unprivileged.db)).rejects.toThrow(
      /^memory_job cannot be seen: it is in schema public, on which this role has no USAGE/,
    );
  });

  test("the schema is not on its search path", async () => {
    await using database = await createDatabase();
    await database.pool.query("create schema empty");
    await using session = openSession(database.url, "-c search_path=empty");
    await expect(checkSchema(session.db)).rejects.toThrow(
      /it is in schema public, which is not on the search_path \(empty\)/,
    );
  });

  test("it may not read the list: a warning", async () => {
    await using database = await createDatabase();
    await using unprivileged = await createUnprivilegedLogin(database);
    expect(await checkSchema(unprivileged.db)).toEqual([
      expect.stringMatching(/^this role may not read memory_job_migration in schema public.*roles\.sql/),
    ]);
  });
});

test("what a role can see of the schema, as plain facts", async () => {
  await using database = await createDatabase();
  await database.pool.query("create schema hidden; create table hidden.memory_job ()");
  expect(await describeSchema(database.db)).toEqual({
    searchPath: ["public"],
    table: { schema: "public", usable: true, readable: true, invalidIndexes: [], found: true },
    others: [{ schema: "hidden", usable: true, readable: true, invalidIndexes: [], found: false }],
    migrations: { missing: [], unknown: [] },
  });
  await using unprivileged = await createUnprivilegedLogin(database);
  expect(await describeSchema(unprivileged.db)).toEqual({
    searchPath: ["public"],
    table: { schema: "public", usable: true, readable: false, invalidIndexes: [], found: true },
    others: [{ schema: "hidden", usable: false, readable: false, invalidIndexes: [], found: false }],
    migrations: undefined,
  });
  expect(await readMigrations(unprivileged.db, "public")).toBeUndefined();
});

describe("locks", () => {
  const altering: Migration = {
    name: "9999-altering",
    up: async (db) => void (await sql`alter table memory_job add column more text`.execute(db)),
  };
  const withAltering = [...migrations, altering];

  test("a migration behind a long transaction does not keep reads waiting, and runs when that ends", async () => {
    await using database = await createDatabase();
    await using holder = await holdOpen(database, "select from memory_job");
    const migrating = migrate(database.db, { migrations: withAltering });
    const waiting = `
      select from pg_locks where not granted and mode = 'AccessExclusiveLock'
        and database = (select oid from pg_database where datname = current_database())`;
    await expect.poll(async () => (await database.pool.query(waiting)).rowCount, { interval: 5 }).toBe(1);
    // Behind a migration that waits as long as it takes, this would be answered when the transaction has ended: never.
    await database.pool.query("select from memory_job");
    await holder[Symbol.asyncDispose]();
    expect(await migrating).toEqual({ ran: [altering.name], unknown: [] });
  });

  test("a lock that does not come: who holds it, and what to do", async () => {
    await using database = await createDatabase();
    await using holder = await holdOpen(database, "select from memory_job");
    const migrating = migrate(database.db, { migrations: withAltering, maxWait: 1 });
    await expect(migrating).rejects.toThrow(
      new RegExp(
        `^migration 9999-altering could not get its lock .* process ${holder.pid} \\(role \\w+, idle in transaction, ` +
          "since [\\d:]+ UTC\\).*pg_terminate_backend.*try again$",
      ),
    );
    expect(await listed(database)).toEqual(names);
  });

  test("another process that migrates for long: which", async () => {
    await using database = await createDatabase({ migrated: false });
    await using holder = await holdOpen(database, "select pg_advisory_xact_lock(7246503117)");
    await expect(migrate(database.db, { maxWait: 1 })).rejects.toThrow(`process ${holder.pid} (role`);
  });

  test("none of those that were released keeps a reader waiting, or waits for one, or rewrites rows", async () => {
    await using database = await createDatabase({ migrated: false });
    await migrateAsPrevious(database.db);
    await insertJob(database.db, { status: "failure", error: "x".repeat(20_000) });
    const rows = "select pg_relation_filenode('memory_job') as file, xmin, ctid, * from memory_job";
    const before = (await database.pool.query(rows)).rows;
    await using _ = await holdOpen(database, "select from memory_job");
    expect(await migrate(database.db, { maxWait: 1 })).toEqual({ ran: names.slice(1), unknown: [] });
    expect((await database.pool.query(rows)).rows).toEqual(before);
  });

  test("a signal ends the wait", async () => {
    await using database = await createDatabase();
    await using _ = await holdOpen(database, "select from memory_job");
    const stopping = new AbortController();
    const migrating = migrate(database.db, { migrations: withAltering, signal: stopping.signal });
    const reason = new Error("stop");
    stopping.abort(reason);
    await expect(migrating).rejects.toBe(reason);
  });
});

describe("a migration that must run outside a transaction", () => {
  const indexing: Migration = {
    name: "9999-index",
    transaction: false,
    async up(db, schema) {
      // What was broken off half way left an index that is not valid.
      await sql`drop index concurrently if exists ${sql.id(schema, "memory_job_by_age")}`.execute(db);
      await sql`
        create index concurrently memory_job_by_age on ${sql.id(schema, "memory_job")} (created_at)`.execute(
        db,
      );
    },
  };
  const withIndex = [...migrations, indexing];
  const indexes = `
    select c.relname as name, i.indisvalid as valid from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid = 'memory_job'::regclass and c.relname = 'memory_job_by_age'`;
  const built = [{ name: "memory_job_by_age", valid: true }];

  test("runs, and is recorded", async () => {
    await using database = await createDatabase();
    expect(await migrate(database.db, { migrations: withIndex })).toEqual({
      ran: [indexing.name],
      unknown: [],
    });
    expect((await database.pool.query(indexes)).rows).toEqual(built);
    expect(await listed(database)).toEqual([...names, indexing.name]);
  });

  test("several at once: it runs once, and none waits for the other for ever", async () => {
    await using database = await createDatabase();
    await using one = openSession(database.url);
    await using two = openSession(database.url);
    const results = await Promise.all(
      [database, one, two].map(({ db }) => migrate(db, { migrations: withIndex })),
    );
    expect(results.flatMap(({ ran }) => ran)).toEqual([indexing.name]);
    expect((await database.pool.query(indexes)).rows).toEqual(built);
  });

  test("in transactions that see one snapshot by default, too", async () => {
    await using database = await createDatabase();
    await using session = openSession(database.url, "-c default_transaction_isolation=serializable");
    expect((await migrate(session.db, { migrations: withIndex })).ran).toEqual([indexing.name]);
  });

  test("broken off half way, it is not recorded, and runs again", async () => {
    await using database = await createDatabase();
    await using holder = await holdOpen(database, "update memory_job set status = 'success'");
    await using session = openSession(database.url);
    const attempt = migrate(session.db, { migrations: withIndex });
    const refused = expect(attempt).rejects.toMatchObject({ code: "57014" });
    const cancel = `
      select pg_cancel_backend(pid) from pg_stat_activity
      where datname = current_database() and query ~ 'create index concurrently' and wait_event_type = 'Lock' and pid <> pg_backend_pid()`;
    await expect.poll(async () => (await database.pool.query(cancel)).rowCount, { interval: 5 }).toBe(1);
    await refused;
    await holder[Symbol.asyncDispose]();
    expect((await database.pool.query(indexes)).rows).toMatchObject([{ valid: false }]);
    expect(await listed(database)).toEqual(names);
    expect((await migrate(session.db, { migrations: withIndex })).ran).toEqual([indexing.name]);
    expect((await database.pool.query(indexes)).rows).toEqual(built);
  });
});
