import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { expect } from "vitest";
import { findBinaries, programPath, reachableBinaries } from "../../src/store/embedded/binaries.ts";
import { locateDataDirectory } from "../../src/store/embedded/data-directory.ts";
import { type EmbeddedPostgres, freePort, startEmbedded } from "../../src/store/embedded/embedded.ts";
import { startTethered, type Tethered, untilEnded } from "../../src/store/embedded/tethered-program.ts";

const run = promisify(execFile);

/** A primary server. Disposing of it removes its standbys, too. */
export interface Primary extends EmbeddedPostgres {
  /** Creates a hot standby and waits until it accepts connections. */
  addStandby(): Promise<Standby>;
}

export interface Standby {
  /** Of the database `postgres`. */
  readonly url: string;
  /** Connects as the superuser, for one statement. */
  execute(statement: string): Promise<void>;
  /** Pauses replay. The standby still receives WAL. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Sends a signal to the postmaster and all of its processes. */
  signal(signal: NodeJS.Signals): Promise<void>;
  stop(): Promise<void>;
  /** Starts it again on the same port. */
  start(): Promise<void>;
}

const settings = {
  fsync: "off",
  synchronous_commit: "local",
  full_page_writes: "off",
  autovacuum: "off",
  shared_buffers: "32MB",
  max_prepared_transactions: "2",
};

export async function startPrimary(): Promise<Primary> {
  const directory = await mkdtemp(join(tmpdir(), "gomemory-status-test-"));
  const primary = await startEmbedded({ directory, settings });
  const standbys: Standby[] = [];
  return {
    ...primary,
    async addStandby() {
      const standby = await createStandby(primary, directory);
      standbys.push(standby);
      return standby;
    },
    async [Symbol.asyncDispose]() {
      for (const standby of standbys) await standby.stop();
      await primary[Symbol.asyncDispose]();
      await rm(dirname(dirname(primary.dataDirectory)), { recursive: true, force: true });
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function createStandby(primary: EmbeddedPostgres, directory: string): Promise<Standby> {
  const place = await locateDataDirectory(directory);
  const binaries = await reachableBinaries(await findBinaries(), directory, place);
  const name = `standby_${randomUUID().slice(0, 8)}`;
  const dataDirectory = join(dirname(primary.dataDirectory), name);
  await copyCluster(primary, dataDirectory, name);
  if (place.account) {
    await run("chown", ["-R", `${place.account.uid}:${place.account.gid}`, dataDirectory]);
  }

  const port = await freePort();
  const { password } = new URL(primary.url);
  const url = new URL(primary.url);
  url.port = String(port);
  let server: Tethered;

  async function start(): Promise<void> {
    const ready = Promise.withResolvers<void>();
    const all = {
      ...settings,
      listen_addresses: "127.0.0.1",
      port,
      unix_socket_directories: "",
      lc_messages: "C",
      primary_conninfo: `host=127.0.0.1 port=${primary.port} user=postgres password=${password}`,
      primary_slot_name: name,
      wal_receiver_status_interval: "100ms",
      wal_retrieve_retry_interval: "100ms",
    };
    const options = Object.entries(all).flatMap(([key, value]) => ["-c", `${key}=${value}`]);
    server = await startTethered([programPath(binaries, "postgres"), "-D", dataDirectory, ...options], {
      account: place.account,
      onLine(line) {
        if (line.includes("ready to accept read-only connections")) ready.resolve();
      },
    });
    await untilEnded(server, undefined, ready.promise);
    if (server.status !== undefined) throw new Error(`the standby does not start: ${server.describeEnd()}`);
    server.unref();
  }

  const execute = async (statement: string) => void (await query(url.href, statement));
  await start();
  return {
    url: url.href,
    start,
    execute,
    stop: () => server.stop(),
    async pause() {
      await execute("select pg_wal_replay_pause()");
      const state = async () => (await query(url.href, "select pg_get_wal_replay_pause_state() as state"))[0];
      await expect.poll(state, { interval: 10, timeout: 10_000 }).toEqual({ state: "paused" });
    },
    resume: () => execute("select pg_wal_replay_resume()"),
    async signal(signal) {
      for (const pid of [server.pid, ...(await childrenOf(server.pid))]) {
        process.kill(pid, signal);
      }
      if (signal === "SIGKILL") await server.ended;
    },
  };
}

/** A base backup without pg_basebackup, which the npm package does not contain. */
async function copyCluster(primary: EmbeddedPostgres, target: string, slot: string): Promise<void> {
  const client = new pg.Client({ connectionString: primary.url });
  await client.connect();
  try {
    await client.query("select pg_backup_start('standby', true)");
    await client.query("select pg_create_physical_replication_slot($1, true)", [slot]);
    // The slot keeps the log that the standby needs; the primary's own files of it come and go.
    const unwanted = /\/(pg_wal|pg_replslot)\/|\/postmaster\.(pid|opts)$/;
    await cp(primary.dataDirectory, target, { recursive: true, filter: (path) => !unwanted.test(path) });
    const { rows } = await client.query<{ label: string }>(
      "select labelfile as label from pg_backup_stop(false)",
    );
    await writeFile(join(target, "backup_label"), rows[0]?.label ?? "");
    await writeFile(join(target, "standby.signal"), "");
  } finally {
    await client.end();
  }
}

async function query(url: string, statement: string): Promise<object[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query(statement)).rows;
  } finally {
    await client.end();
  }
}

async function childrenOf(pid: number): Promise<number[]> {
  const { stdout } = await run("ps", ["-A", "-o", "pid=,ppid="]);
  return stdout
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([child = 0, parent]) => (parent === pid ? [child] : []));
}
