import { join } from "node:path";
import type { Tethered } from "../../../src/store/embedded/tethered-program.ts";
import { until } from "../until.ts";
import { startHaProxy } from "./haproxy.ts";
import { type Node, prepareNode } from "./patroni.ts";
import { stablePort } from "./ports.ts";
import type { Programs } from "./programs.ts";

/** Three PostgreSQL servers under Patroni and etcd, behind HAProxy. */
export interface Cluster extends AsyncDisposable {
  /** The superuser's URLs through HAProxy: of the primary, and of all servers (read-only). */
  readonly url: string;
  readonly readUrl: string;
  /** Waits until all three run, both standbys stream, and HAProxy knows their roles. @returns the primary. */
  settled(): Promise<Node>;
  /** Kills the primary and its Patroni. @returns a function that starts them again. */
  killPrimary(): Promise<() => Promise<void>>;
  switchOver(): Promise<void>;
  stopEtcd(): Promise<void>;
  startEtcd(): Promise<void>;
}

/** @param settleTimeout the time limit for the cluster to settle, in milliseconds. */
export async function startCluster(programs: Programs, settleTimeout = 40_000): Promise<Cluster> {
  await using started = new AsyncDisposableStack();
  const ports = {
    etcd: await stablePort(),
    etcdPeers: await stablePort(),
    primary: await stablePort(),
    readOnly: await stablePort(),
    statistics: await stablePort(),
  };
  let etcd: Tethered;

  async function startEtcd(): Promise<void> {
    const url = `http://127.0.0.1:${ports.etcd}`;
    const peerUrl = `http://127.0.0.1:${ports.etcdPeers}`;
    etcd = await programs.start(
      "usr/bin/etcd",
      ...["--data-dir", join(programs.directory, "etcd"), "--log-level", "error"],
      ...["--listen-client-urls", url, "--advertise-client-urls", url],
      ...["--listen-peer-urls", peerUrl, "--initial-advertise-peer-urls", peerUrl],
      ...["--initial-cluster", `default=${peerUrl}`],
    );
  }

  await startEtcd();
  started.defer(() => etcd.stop());
  const nodes: Node[] = [];
  for (const name of ["node1", "node2", "node3"]) {
    nodes.push(started.use(await prepareNode(programs, name, ports.etcd)));
  }
  await Promise.all(nodes.map((node) => node.start()));
  const servers = nodes.map(({ name, port, apiPort }) => ({ name, port, checkPort: apiPort }));
  const serverOptions = "inter 500ms fall 1 rise 1 on-marked-down shutdown-sessions";
  const shared = { mode: "tcp", servers, serverOptions } as const;
  const haProxy = started.use(
    await startHaProxy(programs, ports.statistics, [
      { name: "primary", port: ports.primary, check: "OPTIONS /primary", ...shared },
      { name: "read-only", port: ports.readOnly, check: "OPTIONS /read-only", ...shared },
    ]),
  );

  async function primary(): Promise<Node | undefined> {
    if (etcd.status !== undefined) throw new Error(`etcd does not run: ${etcd.describeEnd()}`);
    const states = await Promise.all(nodes.map(async (node) => ({ node, state: await node.state() })));
    const running = states.filter(({ state }) => state?.state === "running");
    const [leader, ...others] = running.filter(({ state }) => state?.role !== "replica");
    if (running.length < nodes.length || leader === undefined || others.length > 0) return undefined;
    const standbys = leader.state?.replication?.filter(({ state }) => state === "streaming") ?? [];
    if (standbys.length < nodes.length - 1 || !standbys.some(({ sync_state }) => sync_state === "sync"))
      return;
    // Patroni itself notices a turn of its loop later.
    return (await leader.node.roles()).includes("sync_standby") ? leader.node : undefined;
  }

  async function settled(): Promise<Node> {
    let leader: Node | undefined;
    const find = async () => {
      leader = await primary();
      return leader !== undefined;
    };
    const explain = async () => {
      const told = await Promise.all(nodes.map((node) => node.explain()));
      return [`etcd: ${etcd.describeEnd()}`, ...told].join("\n");
    };
    await until("a primary, two standbys that stream, one of them synchronous", find, settleTimeout, explain);
    await haProxy.leadsTo("primary", [(leader as Node).name]);
    await haProxy.leadsTo(
      "read-only",
      nodes.map(({ name }) => name),
    );
    return leader as Node;
  }

  await settled();
  const running = started.move();
  return {
    url: `postgres://postgres@127.0.0.1:${ports.primary}/postgres`,
    readUrl: `postgres://postgres@127.0.0.1:${ports.readOnly}/postgres`,
    settled,
    async killPrimary() {
      const node = await settled();
      await node.kill();
      return node.start;
    },
    async switchOver() {
      const { apiPort, name } = await settled();
      const body = JSON.stringify({ leader: name });
      const response = await fetch(`http://127.0.0.1:${apiPort}/switchover`, { method: "POST", body });
      if (!response.ok) throw new Error(`no switchover: ${await response.text()}`);
    },
    stopEtcd: () => etcd.stop(),
    startEtcd,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
