import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, watch } from "node:fs";
import { chmod, chown, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Client } from "pg";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  type EmbeddedOptions,
  type EmbeddedPostgres,
  startEmbedded,
} from "../../src/store/embedded/embedded.ts";
import {
  type EmbeddedChild,
  killed,
  noProcessWith,
  processesWith,
  runningIn,
  spawnEmbedded,
} from "../support/embedded-child.ts";

let directory: string;
let cleanup: AsyncDisposableStack;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  const root = await mkdtemp(join(tmpdir(), "embedded-test-"));
  cleanup.defer(() => rm(root, { recursive: true, maxRetries: 10 }));
  cleanup.defer(() => noProcessWith(root));
  await chmod(root, 0o755); // as root, the server runs as another user
  directory = join(root, ".data");
});

afterEach(() => cleanup.disposeAsync());

/** Starts a server here; the test's end stops it. */
async function start(options: Partial<EmbeddedOptions> = {}): Promise<EmbeddedPostgres> {
  return cleanup.use(await startEmbedded({ directory, settings: { fsync: "off" }, ...options }));
}

/** Starts a server in another process; the test's end stops it. */
async function startElsewhere(detached = false): Promise<EmbeddedChild> {
  const child = spawnEmbedded(directory, { detached });
  cleanup.defer(() => void child.stdin.end());
  return await runningIn(child);
}

async function query({ url }: { url: string }, sql: string): Promise<unknown[]> {
  const client = new Client(url);
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Settles when an initdb in `directory` has begun. */
function initdbBegun(): Promise<void> {
  mkdirSync(directory);
  const watcher = watch(directory);
  cleanup.defer(() => watcher.close());
  return new Promise((resolve) => {
    watcher.on("change", (_, name) => {
      if (`${name}`.startsWith("postgres.new-")) resolve();
    });
  });
}

test("data outlives a stop and a start", async () => {
  const first = await start();
  await query(first, "create table kept as select 42 as answer");
  await first[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
  await first.exited;
  expect(await processesWith(directory)).toEqual([]);

  const second = await start();
  expect(await query(second, "select answer from kept")).toEqual([{ answer: 42 }]);
  expect(second.url).toContain(`@127.0.0.1:${second.port}/`);
});

test("the password is needed, and only its owner can read it", async () => {
  const server = await start();
  const url = new URL(server.url);
  url.password = "wrong";
  await expect(query({ url: url.href }, "select 1")).rejects.toThrow("password authentication failed");
  const { mode } = await stat(join(server.dataDirectory, "..", "password"));
  expect(mode & 0o777).toBe(0o600);
});

test("the settings asked for are in force, on UTF-8 and the C locale", async () => {
  const server = await start({ settings: { fsync: "off", max_connections: "7" } });
  const [row] = await query(
    server,
    `select current_setting('max_connections') as connections, current_setting('server_encoding') as encoding,
       current_setting('unix_socket_directories') as sockets, current_setting('listen_addresses') as addresses,
       datcollate as collation from pg_database where datname = current_database()`,
  );
  expect(row).toEqual({
    connections: "7",
    encoding: "UTF8",
    sockets: "",
    addresses: "127.0.0.1",
    collation: "C",
  });
});

test("the server ends when its process is killed, and shuts down cleanly", async () => {
  const child = await startElsewhere();
  await query(child.server, "create table kept as select 42 as answer");
  await killed(child.process);
  await noProcessWith(directory);

  const log: string[] = [];
  const server = await start({ log: (line) => log.push(line) });
  expect(log.join("\n")).toContain("database system was shut down at");
  expect(await query(server, "select answer from kept")).toEqual([{ answer: 42 }]);
});

test("a start straight after its process was killed succeeds", async () => {
  for (let round = 0; round < 3; round++) {
    const child = await startElsewhere();
    await killed(child.process);
  }
  expect(await query(await start(), "select 1 as one")).toEqual([{ one: 1 }]);
});

test("an orphan, whose process and watcher were both killed, is replaced", async () => {
  const child = await startElsewhere();
  const orphan = child.server.pid;
  for (const { pid, command } of await processesWith(directory)) {
    if (command.startsWith("/bin/sh")) process.kill(pid, "SIGKILL");
  }
  await killed(child.process);
  expect(await query(child.server, "select 1 as one")).toEqual([{ one: 1 }]);

  const server = await start();
  expect(server.pid).not.toBe(orphan);
  expect((await processesWith(directory)).map(({ pid }) => pid)).not.toContain(orphan);
  expect(await query(server, "select 1 as one")).toEqual([{ one: 1 }]);
});

test("a crashed server settles `exited` and can be started again at once", async () => {
  const server = await start();
  process.kill(server.pid, "SIGKILL");
  await server.exited;
  await server[Symbol.asyncDispose]();
  expect(await query(await start(), "select 1 as one")).toEqual([{ one: 1 }]);
});

test("a server that is stopped, as by SIGSTOP, is ended nevertheless", async () => {
  const server = await start();
  process.kill(server.pid, "SIGSTOP");
  await server[Symbol.asyncDispose]();
  expect(await processesWith(directory)).toEqual([]);
});

const staleLocks = [
  { name: "a dead process", command: ["true"], innocent: false },
  { name: "an innocent process", command: ["sleep", "600"], innocent: true },
] as const;
for (const { name, command, innocent } of staleLocks) {
  test(`a lock file that names ${name} does not keep the server from starting`, async () => {
    const first = await start();
    const lockFile = join(first.dataDirectory, "postmaster.pid");
    const content = await readFile(lockFile, "utf8");
    const owner = await stat(first.dataDirectory);
    await first[Symbol.asyncDispose]();

    // As the server's user: PostgreSQL minds only processes that it may signal.
    const other = spawn(command[0], command.slice(1), { uid: owner.uid, gid: owner.gid, cwd: "/" });
    const ended = once(other, "exit");
    cleanup.defer(() => void other.kill());
    if (!innocent) await ended;
    await writeFile(lockFile, content.replace(/^\d+/, `${other.pid}`));
    await chown(lockFile, owner.uid, owner.gid);

    const server = await start();
    expect(await query(server, "select 1 as one")).toEqual([{ one: 1 }]);
    expect(other.exitCode ?? other.signalCode).toBe(innocent ? null : 0);
  });
}

test("a second start is refused while the first runs, and names its process", async () => {
  const child = await startElsewhere();
  await expect(start()).rejects.toThrow(
    new RegExp(`used by the process with pid ${child.process.pid}: stop that, or set DATABASE_URL`),
  );
  expect(await query(child.server, "select 1 as one")).toEqual([{ one: 1 }]);
});

test("of two first starts at the same time one succeeds, and the other fails with a reason", async () => {
  const starts = await Promise.allSettled([startElsewhere(), startElsewhere()]);
  const [winner] = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
  const [refusal] = starts.flatMap((start) => (start.status === "rejected" ? [start.reason] : []));
  expect(`${refusal}`).toContain("stop that, or set DATABASE_URL");
  expect(winner && (await query(winner.server, "select 1 as one"))).toEqual([{ one: 1 }]);
});

test("an aborted initdb leaves neither a process nor a half-made cluster", async () => {
  const controller = new AbortController();
  const aborted = initdbBegun().then(() => controller.abort(new Error("enough")));
  await expect(start({ signal: controller.signal })).rejects.toThrow("enough");
  await aborted;
  expect(await processesWith(directory)).toEqual([]);
  expect(await readdir(directory)).toEqual(["lock"]);
  await start();
});

test("an aborted start leaves no process, and a later abort does not stop a running server", async () => {
  const controller = new AbortController();
  const log = (line: string) => {
    if (line.includes("starting PostgreSQL")) controller.abort(new Error("enough"));
  };
  await expect(start({ log, signal: controller.signal })).rejects.toThrow("enough");
  expect(await processesWith(directory)).toEqual([]);

  const later = new AbortController();
  const server = await start({ signal: later.signal });
  later.abort();
  expect(await query(server, "select 1 as one")).toEqual([{ one: 1 }]);
});

test("a first start that was killed in initdb does not spoil the next one", async () => {
  const begun = initdbBegun();
  const child = spawnEmbedded(directory);
  await begun;
  await killed(child);
  await start();
  expect((await readdir(directory)).sort()).toEqual(["lock", "postgres"]);
});

test("a cluster of another major version is refused with both versions and the folder to remove", async () => {
  const server = await start();
  await server[Symbol.asyncDispose]();
  await writeFile(join(server.dataDirectory, "PG_VERSION"), "9\n");
  await expect(start()).rejects.toThrow(
    `is of PostgreSQL 9, and the installed PostgreSQL is 18.4: remove ${dirname(server.dataDirectory)} to start anew`,
  );
});

test("a server that does not come up is reported with what it said", async () => {
  const settings = { fsync: "off", shared_buffers: "plenty" };
  await expect(start({ settings })).rejects.toThrow('invalid value for parameter "shared_buffers": "plenty"');
  expect(await processesWith(directory)).toEqual([]);
});

test("Ctrl-C at the terminal does not reach the server", async () => {
  const child = await startElsewhere(true);
  const interrupted = once(child.process.stdout, "data");
  process.kill(-Number(child.process.pid), "SIGINT"); // to the whole process group, as a terminal does
  await interrupted;
  expect(await query(child.server, "select 1 as one")).toEqual([{ one: 1 }]);
});

test("a running server does not keep its process alive, and ends with it", async () => {
  const child = await startElsewhere();
  child.process.kill("SIGTERM");
  expect(await once(child.process, "exit")).toEqual([0, null]);
  await noProcessWith(directory);
});
