import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Tethered } from "../../../src/store/embedded/tethered-program.ts";
import { stablePort } from "./ports.ts";
import type { Programs } from "./programs.ts";

/** Patroni's state of a node. */
interface NodeState {
  readonly state: string;
  readonly role: string;
  readonly replication?: readonly { readonly state: string; readonly sync_state: string }[];
}

/** A PostgreSQL and its Patroni. Disposing of it kills both. */
export interface Node extends AsyncDisposable {
  readonly name: string;
  /** PostgreSQL's port. */
  readonly port: number;
  /** The port of Patroni's REST API. */
  readonly apiPort: number;
  start(): Promise<void>;
  /** Kills both with SIGKILL. */
  kill(): Promise<void>;
  /** The roles of all nodes, by Patroni. */
  roles(): Promise<string[]>;
  /** @returns undefined when it does not answer. @throws Error once Patroni has ended. */
  state(): Promise<NodeState | undefined>;
  /** The last lines of Patroni and PostgreSQL. */
  explain(): Promise<string>;
}

/** The number of lines of PostgreSQL's log in an error. */
const linesShown = 20;

/** Fast enough for a test: a primary that is gone is replaced after five seconds. */
const dcs = {
  ttl: 5,
  loop_wait: 1,
  retry_timeout: 2,
  synchronous_mode: true,
  failsafe_mode: true,
  postgresql: { use_pg_rewind: true, parameters: { wal_log_hints: "on" } },
};

export async function prepareNode(programs: Programs, name: string, etcdPort: number): Promise<Node> {
  const [port, apiPort] = [await stablePort(), await stablePort()];
  const dataDirectory = join(programs.directory, name);
  const file = join(programs.directory, `${name}.yml`);
  const log = join(programs.directory, `${name}.log`);
  const user = { username: "postgres", password: "unasked" };
  // JSON is YAML.
  const configuration = {
    scope: "gomemory",
    name,
    restapi: { listen: `127.0.0.1:${apiPort}`, connect_address: `127.0.0.1:${apiPort}` },
    etcd3: { host: `127.0.0.1:${etcdPort}` },
    bootstrap: { dcs, initdb: [{ encoding: "UTF8" }, { locale: "C" }, { auth: "trust" }] },
    postgresql: {
      listen: `127.0.0.1:${port}`,
      connect_address: `127.0.0.1:${port}`,
      data_dir: dataDirectory,
      bin_dir: programs.postgresPath,
      pgpass: join(programs.directory, `${name}.pgpass`),
      pg_hba: ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
      authentication: { superuser: user, replication: user, rewind: user },
      parameters: {
        unix_socket_directories: "",
        shared_buffers: "32MB",
        // Safe without fsync: tests kill processes, never the machine.
        fsync: "off",
        timezone: "GMT",
        log_timezone: "GMT",
        // A file of its own: Patroni's lines, one a second, would push PostgreSQL's out of the kept output.
        logging_collector: "on",
        log_directory: programs.directory,
        log_filename: `${name}.log`,
      },
    },
  };
  await writeFile(file, JSON.stringify(configuration));
  let patroni: Tethered | undefined;

  async function kill(): Promise<void> {
    if (patroni === undefined) return;
    const { ended } = patroni;
    if (patroni.status === undefined) process.kill(patroni.pid, "SIGKILL");
    // Only once: afterwards, the pid in the file may belong to another process.
    patroni = undefined;
    const lock = await readFile(join(dataDirectory, "postmaster.pid"), "utf8").catch(() => "");
    const postgres = Number.parseInt(lock, 10);
    if (postgres > 0) process.kill(postgres, "SIGKILL");
    await ended;
  }

  async function explain(): Promise<string> {
    const lines = (await readFile(log, "utf8").catch(() => "")).trimEnd().split("\n");
    return [
      `Patroni of ${name}: ${patroni?.describeEnd() ?? "it was killed"}`,
      `PostgreSQL of ${name}; its last lines:`,
      ...lines.slice(-linesShown).map((line) => `  ${line}`),
    ].join("\n");
  }

  return {
    name,
    port,
    apiPort,
    async start() {
      patroni = await programs.startPython("usr/bin/patroni", file);
    },
    kill,
    async roles() {
      const response = await fetch(`http://127.0.0.1:${apiPort}/cluster`).catch(() => undefined);
      const { members = [] } = ((await response?.json()) ?? {}) as { members?: { role: string }[] };
      return members.map(({ role }) => role);
    },
    async state() {
      if (patroni?.status !== undefined) throw new Error(`Patroni does not run\n${await explain()}`);
      const response = await fetch(`http://127.0.0.1:${apiPort}/patroni`).catch(() => undefined);
      return (await response?.json()) as NodeState | undefined;
    },
    explain,
    [Symbol.asyncDispose]: kill,
  };
}
