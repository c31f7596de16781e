import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { until } from "../until.ts";
import type { Programs } from "./programs.ts";

/** A port behind which are the servers of a list whose health check succeeds. */
export interface Balanced {
  readonly name: string;
  readonly port: number;
  readonly mode: "tcp" | "http";
  /** The request of the health check, such as `OPTIONS /primary`. */
  readonly check: string;
  readonly servers: readonly { readonly name: string; readonly port: number; readonly checkPort: number }[];
  /** HAProxy's options of each server. */
  readonly serverOptions: string;
}

/** HAProxy's counts for a port since it was started. */
export interface Counts {
  /** The calls that HAProxy answered with a 5xx itself, since no server was up. `mode: "http"` only. */
  readonly refused: number;
  /** How often HAProxy removed a server after a check, and how often that was the last one that was up. */
  readonly removed: number;
  readonly removedLast: number;
}

export interface HaProxy extends AsyncDisposable {
  /** Waits until HAProxy has checked every server of a port, and exactly these are up. */
  leadsTo(name: string, servers: readonly string[]): Promise<void>;
  counts(name: string): Promise<Counts>;
}

/** @param statisticsPort the port of 127.0.0.1 on which HAProxy reports its statistics. */
export async function startHaProxy(
  programs: Programs,
  statisticsPort: number,
  balanced: readonly Balanced[],
): Promise<HaProxy> {
  const file = join(programs.directory, `haproxy-${statisticsPort}.cfg`);
  await writeFile(file, configuration(statisticsPort, balanced));
  const program = await programs.start("usr/sbin/haproxy", "-db", "-f", file);

  /** The statistics of a port by the names of their columns: a row for each server, and one for all of them (BACKEND). */
  async function statistics(name: string): Promise<Record<string, string | undefined>[]> {
    if (program.status !== undefined) throw new Error(`HAProxy does not run: ${program.describeEnd()}`);
    const response = await fetch(`http://127.0.0.1:${statisticsPort}/;csv`).catch(() => undefined);
    const [head = "", ...lines] = ((await response?.text()) ?? "").split("\n");
    const columns = head.replace("# ", "").split(",");
    const rows = lines.map((line) => {
      const cells = line.split(",");
      return Object.fromEntries(columns.map((column, index) => [column, cells[index]]));
    });
    return rows.filter(({ pxname, svname }) => pxname === name && svname !== "FRONTEND");
  }

  /** The servers of a port that are up by a completed check: HAProxy takes a server for up before its first check. */
  async function serversUp(name: string): Promise<string[]> {
    return (await statistics(name))
      .filter(({ status, check_status }) => status === "UP" && check_status === "L7OK")
      .map(({ svname = "" }) => svname);
  }

  return {
    leadsTo(name, servers) {
      const wanted = servers.toSorted().join();
      const isSo = async () => (await serversUp(name)).toSorted().join() === wanted;
      const explain = async () => `It leads to: ${await serversUp(name)}\nHAProxy: ${program.describeEnd()}`;
      return until(`HAProxy leads "${name}" to ${wanted}`, isSo, 30_000, explain);
    },
    async counts(name) {
      const rows = await statistics(name);
      if (rows.length === 0) throw new Error(`HAProxy has no statistics of "${name}"`);
      const all = rows.filter(({ svname }) => svname === "BACKEND");
      const servers = rows.filter(({ svname }) => svname !== "BACKEND");
      return {
        refused: sum(all, "hrsp_5xx") - sum(servers, "hrsp_5xx"),
        removed: sum(servers, "chkdown"),
        removedLast: sum(all, "chkdown"),
      };
    },
    [Symbol.asyncDispose]: () => program.stop(),
  };
}

function sum(rows: readonly Record<string, string | undefined>[], column: string): number {
  return rows.reduce((total, row) => total + Number(row[column]), 0);
}

function configuration(statisticsPort: number, balanced: readonly Balanced[]): string {
  const sections = balanced.map(({ name, port, mode, check, servers, serverOptions }) => [
    `listen ${name}`,
    `  bind 127.0.0.1:${port}`,
    `  mode ${mode}`,
    `  option httpchk ${check}`,
    ...servers.map(
      (one) => `  server ${one.name} 127.0.0.1:${one.port} check port ${one.checkPort} ${serverOptions}`,
    ),
  ]);
  return [
    "defaults",
    "  timeout connect 300ms",
    "  timeout client 60s",
    "  timeout server 60s",
    "  timeout check 1s",
    "  retries 0",
    "listen statistics",
    `  bind 127.0.0.1:${statisticsPort}`,
    "  mode http",
    "  stats enable",
    "  stats uri /",
    ...sections.flat(),
    "",
  ].join("\n");
}
