import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Tethered } from "../../../src/store/embedded-process.ts";
import { stablePort } from "./ports.ts";
import type { Programs } from "./programs.ts";

/** What Patroni tells of a node. */
interface NodeState {
  readonly state: string;
  readonly role: string;
  readonly replication?: readonly { readonly state: string; readonly sync_state: string }[];
}

/** A PostgreSQL with the Patroni that looks after it. Disposing of it kills both: nobody needs the data any more. */
export interface Node extends AsyncDisposable {
  readonly name: string;
  /** PostgreSQL's. */
  readonly port: number;
  /** Patroni's, where it answers health checks and takes orders. */
  readonly apiPort: number;
  start(): Promise<void>;
  /** Kills both with SIGKILL. */
  kill(): Promise<void>;
  /** Of all nodes, as the cluster has agreed. */
  roles(): Promise<string[]>;
  /** @returns undefined when it does not answer. */
  state(): Promise<NodeState | undefined>;
}

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
        // What is killed here are processes, never the machine.
        fsync: "off",
        timezone: "GMT",
        log_timezone: "GMT",
      },
    },
  };
  await writeFile(file, JSON.stringify(configuration));
  let patroni: Tethered | undefined;

  async function kill(): Promise<void> {
    if (patroni === undefined) return;
    const { ended } = patroni;
    if (patroni.status === undefined) process.kill(patroni.pid, "SIGKILL");
    // Afterwards, the pid in the file may be somebody else's.
    patroni = undefined;
    const lock = await readFile(join(dataDirectory, "postmaster.pid"), "utf8").catch(() => "");
    const postgres = Number.parseInt(lock, 10);
    if (postgres > 0) process.kill(postgres, "SIGKILL");
    await ended;
  }

  return {
    name,
    port,
    apiPort,
    async start() {
      patroni = await programs.start("usr/bin/patroni", file);
    },
    kill,
    async roles() {
      const response = await fetch(`http://127.0.0.1:${apiPort}/cluster`).catch(() => undefined);
      const { members = [] } = ((await response?.json()) ?? {}) as { members?: { role: string }[] };
      return members.map(({ role }) => role);
    },
    async state() {
      if (patroni?.status !== undefined) throw new Error(`Patroni does not run: ${patroni.describeEnd()}`);
      const response = await fetch(`http://127.0.0.1:${apiPort}/patroni`).catch(() => undefined);
      return (await response?.json()) as NodeState | undefined;
    },
    [Symbol.asyncDispose]: kill,
  };
}
