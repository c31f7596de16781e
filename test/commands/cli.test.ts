import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import { type Setting, settings } from "../../src/config/settings.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { type Exit, listening, runCli, startServing } from "../support/process.ts";
import { documentedJson, insertJob } from "../support/rows.ts";
import { createUnprivilegedLogin } from "../support/schemas.ts";

/** Runs a command to its end. */
async function ran(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Exit> {
  await using running = runCli(args, env);
  return await running.exit;
}

/** Nothing listens there: the port is reserved, and only root could. */
const nowhere = "127.0.0.1:1";

describe.concurrent("help", () => {
  test("--help names the commands", async () => {
    const { code, stdout, stderr } = await ran(["--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const command of ["serve", "migrate", "purge", "get", "health"])
      expect(stdout).toMatch(new RegExp(`^  ${command} `, "m"));
  });

  test("--version is that of package.json", async () => {
    expect(await ran(["--version"])).toMatchObject({ code: 0, stdout: `${manifest.version}\n`, stderr: "" });
  });

  test("serve --help lists every setting with what it takes and its default, those for tuning apart", async () => {
    const { code, stdout } = await ran(["serve", "--help"]);
    expect(code).toBe(0);
    const [, general = "", tuning = ""] = /\nEnvironment:\n(.*)\nTuning [^\n]*:\n(.*)$/s.exec(stdout) ?? [];
    for (const [name, setting] of Object.entries<Setting<unknown>>(settings)) {
      const { help, takes, default: preset } = setting;
      const otherwise = preset === undefined ? "" : ` Default: ${preset}.`;
      expect(setting.tuning ? tuning : general).toContain(
        `  ${name}\n      ${help}\n      Takes ${takes}.${otherwise}\n`,
      );
    }
  });

  test.for([
    {
      command: "migrate",
      lists: ["DATABASE_URL", "DATABASE_URL_FILE", "DATABASE_CONNECT_TIMEOUT", "LOG_LEVEL", "NODE_ENV"],
    },
    {
      command: "purge",
      lists: ["DATABASE_URL", "DATABASE_URL_FILE", "DATABASE_CONNECT_TIMEOUT", "LOG_LEVEL", "NODE_ENV"],
    },
    {
      command: "get",
      lists: ["STATUS_URL", "STATUS_TOKEN", "STATUS_CLIENT_CERT", "STATUS_CLIENT_KEY", "REQUEST_TIMEOUT"],
    },
    { command: "health", lists: ["HOST", "PORT", "TLS_CERT", "TLS_CLIENT_CA"] },
  ])("$command --help lists the settings that it uses", async ({ command, lists }) => {
    const { code, stdout } = await ran([command, "--help"]);
    expect(code).toBe(0);
    expect(stdout.match(/^ {2}[A-Z_]+$/gm)?.map((line) => line.trim())).toEqual(lists);
  });

  test.for([
    { command: "serve", codes: [0, 1, 2] },
    { command: "migrate", codes: [0, 1, 2] },
    { command: "purge", codes: [0, 1, 2, 4, 5] },
    { command: "get", codes: [0, 1, 2, 3, 4, 5] },
    { command: "health", codes: [0, 1, 2] },
  ])("$command --help lists what its exit codes mean", async ({ command, codes }) => {
    const { stdout } = await ran([command, "--help"]);
    expect(stdout.match(/^ {2}\d {2}\S/gm)?.map((line) => Number(line.slice(2, 3)))).toEqual(codes);
  });
});

describe.concurrent("wrong usage ends with exit code 2 and its reason", () => {
  test.for([
    { args: [], prints: "Usage: gomemory-status" },
    { args: ["frobnicate"], prints: "unknown command 'frobnicate'" },
    { args: ["serve", "--port", "9000"], prints: "unknown option '--port'" },
    { args: ["serve", "9000"], prints: "too many arguments" },
    { args: ["health", "9000"], prints: "too many arguments" },
    { args: ["get"], prints: "missing required argument 'reqid'" },
  ])("$args", async ({ args, prints }) => {
    const { code, stdout, stderr } = await ran(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(prints);
  });
});

describe.concurrent("settings", () => {
  test("every mistake is named at once, and no password is shown", async () => {
    const exit = await ran(["serve"], {
      DATABASE_URL: "mysql://root:hunter2@db/status",
      DATABASE_POOL_SIZE: "0",
      REQUEST_TIMEOUT: "2",
      LOG_LEVEL: "loud",
    });
    expect(exit).toMatchObject({ code: 2, stdout: "" });
    expect(exit.stderr).toBe(
      [
        "DATABASE_URL takes a URL that begins with postgres:// or postgresql://: it got something else, not shown since it may hold a secret",
        'DATABASE_POOL_SIZE takes a whole number, 1 to 1000: it got "0"',
        'REQUEST_TIMEOUT takes a duration with its unit, like 500ms, 2s, 10m, 24h or 7d, from 1ms to 24d: it got "2"',
        'LOG_LEVEL takes one of fatal, error, warn, info, debug, silent: it got "loud"',
        "",
      ].join("\n"),
    );
  });

  test("a setting that has another name now: 2, and its new name", async () => {
    expect(await ran(["serve"], { GRPC_LANE: "off" })).toMatchObject({
      code: 2,
      stdout: "",
      stderr: "GRPC_LANE is now GRPC_FAST_PATH: set that instead\n",
    });
  });

  test.for(["serve", "migrate", "purge"])("%s in production requires a DATABASE_URL", async (command) => {
    const exit = await ran([command], { NODE_ENV: "production" });
    expect(exit).toMatchObject({ code: 2, stdout: "" });
    expect(exit.stderr).toMatch(
      /^DATABASE_URL takes .*: it is not set, and NODE_ENV=production requires it\n$/,
    );
  });

  test("near misses are pointed out in the log, which holds no password", async () => {
    await using service = await startServing({
      DATABASE_URL: `postgres://root:hunter2@${nowhere}/none?password=hunter3`,
      DATABSE_URL: "postgres://root:hunter4@db/status",
      STATUS_URI: "http://db",
      LOG_REQUEST: "true",
    });
    service.kill("SIGTERM");
    const { stdout, stderr } = await service.exit;
    const warnings = service.logs.filter((line) => line.msg.includes("is not a setting"));
    expect(warnings.map(({ level, msg }) => `${level}: ${msg}`)).toEqual([
      "warn: DATABSE_URL is not a setting: did you mean DATABASE_URL?",
      "warn: STATUS_URI is not a setting: did you mean STATUS_URL?",
      "warn: LOG_REQUEST is not a setting: did you mean LOG_REQUESTS?",
    ]);
    expect(stdout + stderr).not.toContain("hunter");
  });
});

describe.concurrent("get", () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createDatabase();
    app = await startTestApp({ DATABASE_URL: database.url });
  });
  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  // Production requires a database only of the commands that open it.
  const got = (reqId: string) => ran(["get", reqId], { STATUS_URL: app.url, NODE_ENV: "production" });

  /** Asks whatever listens at this server's address. */
  async function gotFrom(server: Server, requestTimeout = "20s"): Promise<Exit> {
    const sockets = new Set<Socket>();
    server.on("connection", (socket) => sockets.add(socket)).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const reqId = crypto.randomUUID();
    const exit = await ran(["get", reqId], {
      STATUS_URL: `http://127.0.0.1:${port}`,
      REQUEST_TIMEOUT: requestTimeout,
    });
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
    return exit;
  }

  test("a status that there is: 0, and the documented JSON", async () => {
    const reqId = await insertJob(database.db, { status: "failure", error: 'a "bad" day' });
    const stdout = `${await documentedJson(database.db, reqId)}\n`;
    expect(await got(reqId.toUpperCase())).toMatchObject({ code: 0, stdout, stderr: "" });
  });

  test("a malformed id: 2", async () => {
    const exit = await got("a b");
    expect(exit).toMatchObject({ code: 2, stdout: "" });
    expect(exit.stderr).toMatch(/^INVALID_ARGUMENT: req_id "a b" is malformed.* \(asked http:.*\)\n$/);
  });

  test("an unknown id: 3", async () => {
    const exit = await got(crypto.randomUUID());
    expect(exit).toMatchObject({ code: 3, stdout: "" });
    expect(exit.stderr).toMatch(/^NOT_FOUND: no status for request .* \(asked http:.*\)\n$/);
  });

  test("no server: 4", async () => {
    const exit = await ran(["get", crypto.randomUUID()], { STATUS_URL: `http://${nowhere}` });
    expect(exit).toMatchObject({ code: 4, stdout: "" });
    expect(exit.stderr).toBe(`UNAVAILABLE: connect ECONNREFUSED ${nowhere} (asked http://${nowhere})\n`);
  });

  test("a server without its database: 4", async () => {
    await using alone = await startTestApp({ DATABASE_URL: `postgres://nobody@${nowhere}/none` });
    const exit = await ran(["get", crypto.randomUUID()], { STATUS_URL: alone.url });
    expect(exit).toMatchObject({ code: 4, stdout: "" });
    expect(exit.stderr).toMatch(/^UNAVAILABLE: /);
  });

  test("a server that does not answer: 4", async () => {
    const exit = await gotFrom(createServer(), "200ms");
    expect(exit).toMatchObject({ code: 4, stdout: "" });
    expect(exit.stderr).toMatch(/^DEADLINE_EXCEEDED: /);
  });

  test("another server: 1", async () => {
    const exit = await gotFrom(createHttpServer((_, response) => response.writeHead(404).end("<html>")));
    expect(exit).toMatchObject({ code: 1, stdout: "" });
    expect(exit.stderr).toMatch(/ \(asked http:.*\)\n$/);
  });
});

/** The names of the migrations that a database has had. */
async function migrationsOf({ pool }: TestDatabase): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>("select name from memory_job_migration order by name");
  expect(rows).not.toEqual([]);
  return rows.map((row) => row.name);
}

/** The error in the log of a command that ended with exit code 1. */
async function failure(args: readonly string[], env: Readonly<Record<string, string>>): Promise<unknown> {
  await using running = runCli(args, env);
  expect(await running.exit).toMatchObject({ code: 1, stderr: "" });
  expect(running.logs.at(-1)).toMatchObject({ level: "fatal", msg: "cannot start" });
  return running.logs.at(-1)?.err;
}

describe.concurrent("migrate", () => {
  test("an empty database is migrated, and then needs no migration, and then can be served", async () => {
    await using database = await createDatabase({ migrated: false });
    const migrated = async () => {
      await using running = runCli(["migrate"], { DATABASE_URL: database.url });
      expect(await running.exit).toMatchObject({ code: 0, stderr: "" });
      return running.logs;
    };
    const first = await migrated();
    expect(first).toMatchObject([{ msg: "migrated the database", migrations: await migrationsOf(database) }]);
    expect(await migrated()).toMatchObject([{ msg: "the database needs no migration", migrations: [] }]);
    await using _ = await startServing({ DATABASE_URL: database.url });
  });

  test("a database that a newer version has migrated is left as it is: 0, and a warning", async () => {
    await using database = await createDatabase();
    await database.pool.query("insert into memory_job_migration values ('9999-of-tomorrow')");
    const before = await migrationsOf(database);
    await using running = runCli(["migrate"], { DATABASE_URL: database.url });
    expect(await running.exit).toMatchObject({ code: 0, stderr: "" });
    expect(running.logs).toMatchObject([
      {
        level: "warn",
        msg: "a newer version of the service has migrated the database (9999-of-tomorrow): nothing is migrated",
      },
    ]);
    expect(await migrationsOf(database)).toEqual(before);
  });

  test("a role that may not migrate: 1, and the first error of the database", async () => {
    await using database = await createDatabase({ migrated: false });
    await using unprivileged = await createUnprivilegedLogin(database);
    expect(await failure(["migrate"], { DATABASE_URL: unprivileged.url })).toMatchObject({ code: "42501" });
  });

  test("a database that does not answer: 1", async () => {
    const error = await failure(["migrate"], { DATABASE_URL: `postgres://nobody@${nowhere}/none` });
    expect(error).toMatchObject({ code: "ECONNREFUSED" });
  });
});

describe.concurrent("serve", () => {
  test("a database that is not migrated: 1, and what to do", async () => {
    await using database = await createDatabase({ migrated: false });
    const error = await failure(["serve"], { DATABASE_URL: database.url });
    expect(error).toMatchObject({
      name: "SchemaError",
      message: expect.stringContaining("`npm run migrate`"),
    });
  });

  test("a database that a newer version has migrated is served", async () => {
    await using database = await createDatabase();
    await database.pool.query("insert into memory_job_migration values ('9999-of-tomorrow')");
    await using service = await startServing({ DATABASE_URL: database.url });
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
  });

  test("three with MIGRATE=true begin at once on an empty database: one migrates, all serve", async () => {
    await using database = await createDatabase({ migrated: false });
    const reqId = crypto.randomUUID();
    const env = { DATABASE_URL: database.url, MIGRATE: "true", HOST: "127.0.0.1", PORT: "0" };
    await using running = new AsyncDisposableStack();
    const services = [1, 2, 3].map(() => running.use(runCli(["serve"], env)));
    const urls = await Promise.all(services.map(async (service) => (await listening(service)).url));
    const migrations = services.flatMap(({ logs }) => logs.flatMap((line) => line.migrations ?? []));
    expect(migrations.toSorted()).toEqual(await migrationsOf(database));
    await database.pool.query("insert into memory_job (req_id, status) values ($1, 'pending')", [reqId]);
    for (const url of urls) {
      const response = await fetch(`${url}/get_status/${reqId}`);
      expect(await response.text()).toBe(await documentedJson(database.db, reqId));
    }
  });

  test("a port in use: 1, and which", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    await using _ = { [Symbol.asyncDispose]: async () => void (await once(taken.close(), "close")) };
    const { port } = taken.address() as AddressInfo;
    const env = { DATABASE_URL: `postgres://nobody@${nowhere}/none`, HOST: "127.0.0.1", PORT: String(port) };
    expect(await failure(["serve"], env)).toMatchObject({
      message: `listen EADDRINUSE: address already in use 127.0.0.1:${port}`,
    });
  });

  test("a database that does not answer: serves, alive but not ready", async () => {
    await using service = await startServing({ DATABASE_URL: `postgres://nobody@${nowhere}/none` });
    const answers = await Promise.all(
      ["/healthz", "/readyz", `/get_status/${crypto.randomUUID()}`].map(async (path) => {
        const response = await fetch(service.url + path);
        return [response.status, response.headers.get("error-reason"), await response.text()];
      }),
    );
    expect(answers).toEqual([
      [200, null, '{"status":"alive"}'],
      [503, null, '{"status":"not ready"}'],
      [
        500,
        "DATASTORE_UNAVAILABLE",
        expect.stringMatching(/^\{"Error":"We are experiencing .*","Message":"We are .*","Status":500\}$/),
      ],
    ]);
    expect(service.logs).toContainEqual(
      expect.objectContaining({
        level: "error",
        msg: expect.stringContaining("the database does not answer"),
      }),
    );
  });
});
