import { spawnSync } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { cli, compileCache, type Running, run, runCli } from "../support/process.ts";
import { startProxy } from "../support/proxy.ts";
import { stopAtDelete } from "../support/purge-gate.ts";
import { countJobs, createDatabaseToPurge, startOtherPurger } from "../support/purging.ts";
import { createLogin } from "../support/roles.ts";

let database: TestDatabase;

beforeEach(async () => {
  database = await createDatabaseToPurge();
});
afterEach(() => database[Symbol.asyncDispose]());

/** Runs `purge` to its end. @returns its exit code and its log, and that nothing else was printed. */
async function purged(args: readonly string[] = [], url = database.url) {
  await using running = runCli(["purge", ...args], { DATABASE_URL: url, DATABASE_CONNECT_TIMEOUT: "10s" });
  return await endOf(running);
}

async function endOf(running: Running) {
  const { code, stderr, stdout } = await running.exit;
  expect(stderr).toBe("");
  expect(stdout.trimEnd().split("\n")).toHaveLength(running.logs.length);
  return { code, logs: running.logs };
}

describe("0", () => {
  test("what is older than 25 hours is deleted, in batches, and nothing else", async () => {
    expect(await purged(["--batch", "5"])).toMatchObject({
      code: 0,
      logs: [{ level: "info", msg: "purged", purged: 12, batches: 3, duration_ms: expect.any(Number) }],
    });
    expect(await countJobs(database)).toBe(3);
    expect(await purged()).toMatchObject({ code: 0, logs: [{ msg: "purged", purged: 0 }] });
    expect(await countJobs(database)).toBe(3);
  });

  test("--older-than selects another age", async () => {
    expect(await purged(["--older-than", "2d"])).toMatchObject({ code: 0, logs: [{ purged: 0 }] });
    expect(await purged(["--older-than", "24h"])).toMatchObject({ code: 0, logs: [{ purged: 15 }] });
    expect(await countJobs(database)).toBe(0);
  });

  test("--dry-run counts, and deletes nothing", async () => {
    const { rows } = await database.pool.query<{ oldest: Date }>(
      "select min(created_at) as oldest from memory_job",
    );
    const oldest = rows[0]?.oldest.toISOString();
    expect(await purged(["--dry-run"])).toMatchObject({
      code: 0,
      logs: [{ level: "info", msg: "would purge", jobs: 12, oldest }],
    });
    expect(await countJobs(database)).toBe(15);
    expect(await purged(["--dry-run", "--older-than", "2d"])).toMatchObject({ code: 0, logs: [{ jobs: 0 }] });
  });

  test("gomemory_purger is enough", async () => {
    await using login = await createLogin(database, "gomemory_purger");
    expect(await purged(["--dry-run"], login.url)).toMatchObject({ code: 0, logs: [{ jobs: 12 }] });
    expect(await purged([], login.url)).toMatchObject({ code: 0, logs: [{ purged: 12 }] });
  });

  test("another purger is at work: says so", async () => {
    await using _ = await startOtherPurger(database);
    expect(await purged()).toMatchObject({
      code: 0,
      logs: [{ level: "info", msg: "another purger is at work", purged: 0 }],
    });
  });

  test.for(["SIGTERM", "SIGINT"] as const)("%s ends it after the batch that runs", async (signal) => {
    await using gate = await stopAtDelete(database);
    await using running = runCli(["purge", "--batch", "5"], { DATABASE_URL: database.url });
    await gate.reached();
    running.kill(signal);
    await gate[Symbol.asyncDispose]();
    expect(await endOf(running)).toMatchObject({
      code: 0,
      logs: [{ msg: "purged", purged: 5, batches: 1 }, { msg: "stopped" }],
    });
    expect(await countJobs(database)).toBe(10);
  });
});

test("a second signal ends it at once", async () => {
  await using gate = await stopAtDelete(database);
  await using running = runCli(["purge"], { DATABASE_URL: database.url });
  await gate.reached();
  running.kill("SIGTERM");
  // Longer than one press of Ctrl-C takes to arrive twice.
  await pause(300);
  running.kill("SIGTERM");
  expect(await running.exit).toMatchObject({ code: 143 });
});

test("1: an error that was not foreseen", async () => {
  await database.pool.query(`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not today'; end $$;
    create trigger refuse before delete on memory_job execute function refuse()`);
  expect(await purged()).toMatchObject({
    code: 1,
    logs: [{ level: "fatal", msg: "cannot purge", err: { code: "P0001" } }],
  });
});

describe("2", () => {
  const duration = "It takes a duration with its unit, like 25h or 7d, from 24h to 24d.";
  const rows = "It takes a whole number, 1 to 5000.";

  test.for([
    { option: "--older-than", value: "23h", right: duration },
    { option: "--older-than", value: "86399s", right: duration },
    { option: "--older-than", value: "25d", right: duration },
    { option: "--older-than", value: "25", right: duration },
    { option: "--older-than", value: "-25h", right: duration },
    { option: "--batch", value: "0", right: rows },
    { option: "--batch", value: "5001", right: rows },
    { option: "--batch", value: "many", right: rows },
  ])("$option=$value: names the option, what it got and what is right", async ({ option, value, right }) => {
    await using running = runCli(["purge", `${option}=${value}`], { DATABASE_URL: database.url });
    const { code, stdout, stderr } = await running.exit;
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`error: option '${option} <`);
    expect(stderr).toContain(`argument '${value}' is invalid. ${right}\n`);
    expect(await countJobs(database)).toBe(15);
  });
});

describe("4", () => {
  test.for([[], ["--dry-run"]])("a database that does not answer, %s", async (args) => {
    expect(await purged(args, "postgres://nobody@127.0.0.1:1/none")).toMatchObject({
      code: 4,
      logs: [{ level: "fatal", msg: "cannot purge", err: { code: "ECONNREFUSED" } }],
    });
  });

  test.for([[], ["--dry-run"]])("a schema without the function, and what to do, %s", async (args) => {
    await database.pool.query("drop function memory_job_purge, memory_job_purgeable");
    expect(await purged(args)).toMatchObject({
      code: 4,
      logs: [{ err: { name: "SchemaError", message: expect.stringContaining("npm run migrate") } }],
    });
  });

  test("a database that was never migrated, and what to do", async () => {
    await using empty = await createDatabase({ migrated: false });
    expect(await purged([], empty.url)).toMatchObject({
      code: 4,
      logs: [{ err: { name: "SchemaError", message: expect.stringContaining("npm run migrate") } }],
    });
  });

  test("a database that takes no writes", async () => {
    const url = `${database.url}?options=${encodeURIComponent("-c default_transaction_read_only=on")}`;
    expect(await purged([], url)).toMatchObject({ code: 4, logs: [{ err: { code: "25006" } }] });
  });

  test("a connection that is lost in the middle of a batch", async () => {
    await using gate = await stopAtDelete(database);
    await using proxy = await startProxy(database.url);
    await using running = runCli(["purge"], { DATABASE_URL: proxy.url });
    await gate.reached();
    proxy.cut();
    expect(await endOf(running)).toMatchObject({ code: 4, logs: [{ level: "fatal", msg: "cannot purge" }] });
  });
});

describe("5", () => {
  test.for([[], ["--dry-run"]])("a role that may not purge, %s", async (args) => {
    await using login = await createLogin(database, "gomemory_reader");
    expect(await purged(args, login.url)).toMatchObject({
      code: 5,
      logs: [{ level: "fatal", msg: "cannot purge", err: { name: "PurgeDenied" } }],
    });
    expect(await countJobs(database)).toBe(15);
  });

  test("a role that the database does not admit", async () => {
    const url = new URL(database.url);
    url.password = "wrong";
    expect(await purged([], url.href)).toMatchObject({ code: 5, logs: [{ err: { code: "28P01" } }] });
  });
});

test.skipIf(spawnSync("script", ["--version"]).stdout?.includes("util-linux") !== true)(
  "on a terminal, a bar shows how far it is, and is removed",
  async () => {
    const command = `"${process.execPath}" "${cli}" purge --batch 5`;
    await using running = run(["script", "--quiet", "--return", "--command", command, "/dev/null"], {
      env: { ...compileCache, PATH: process.env.PATH, DATABASE_URL: database.url, TERM: "xterm" },
    });
    const { code, stdout } = await running.exit;
    expect(code).toBe(0);
    // The lines as they follow each other in place: each erases the one before.
    const shown = stdout.replaceAll(/[\r\n]+/g, "").split("\x1b[K");
    const bar = /^\[#*\.*\] +\d+% {2}(\d+) rows {2}[\d,]+ rows\/s$/;
    expect(shown.slice(1, 4).map((line) => bar.exec(line)?.[1])).toEqual(["5", "10", "12"]);
    expect(shown.at(4)).toMatch(/INFO.*purged/);
    expect(shown.at(-1)?.trim()).toBe("");
  },
);
