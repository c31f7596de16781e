import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { stopSignals, stopTimeoutMs } from "./tethered-program.ts";

const pollMs = 20;

/** The setting by which a server's command line tells which process started it. */
export const ownerSetting = "gomemory.owner";

/** The pid in the lock file of a cluster. The server may have ended since; the pid may be another process by now. */
export async function recordedPid(cluster: string): Promise<number | undefined> {
  const text = await readFile(join(cluster, "postmaster.pid"), "utf8").catch(() => "");
  const pid = Number.parseInt(text, 10);
  return pid > 0 ? pid : undefined;
}

/** The living process that runs a server on this cluster, if there is one. */
export async function serverOwner(cluster: string): Promise<number | undefined> {
  const pid = await recordedPid(cluster);
  return pid && (await serverOf(cluster, pid))?.owner;
}

/**
 * Stops the server that a killed process left running on a cluster. Does not touch the server of a living process, nor
 * any process that is not the server of this cluster.
 * @throws Error when the server does not end; the signal's reason
 */
export async function stopOrphan(cluster: string, signal?: AbortSignal): Promise<void> {
  const pid = await recordedPid(cluster);
  if (pid === undefined) return;
  for (const stopSignal of stopSignals) {
    const deadline = Date.now() + stopTimeoutMs;
    for (let signalled = false; Date.now() < deadline; signalled = true) {
      const server = await serverOf(cluster, pid);
      if (!server || server.owner) return;
      signal?.throwIfAborted();
      if (!signalled) signalIfThere(pid, stopSignal);
      await pause(pollMs); // the end of another process's child is no event
    }
  }
  throw new Error(`the PostgreSQL server with pid ${pid} on ${cluster} does not end: end it by hand`);
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** The process with this pid, provided that it is the server of this cluster. */
async function serverOf(cluster: string, pid: number): Promise<{ owner: number | undefined } | undefined> {
  const { parent, program, args } = await inspectProcess(pid);
  if (basename(program) !== "postgres" || !args.startsWith(`-D ${cluster} `)) return undefined;
  // An orphan has a new parent: its owner has ended, even if another process has that pid by now.
  return { owner: args.includes(` ${ownerSetting}=${parent} `) ? parent : undefined };
}

/** @returns what the kernel knows about a process; an empty program when there is none. */
async function inspectProcess(pid: number): Promise<{ parent: number; program: string; args: string }> {
  try {
    if (process.platform === "linux") {
      // Slim images have no ps.
      const status = await readFile(`/proc/${pid}/status`, "utf8");
      const [program = "", ...args] = (await readFile(`/proc/${pid}/cmdline`, "utf8")).split("\0");
      return { parent: Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]), program, args: args.join(" ") };
    }
    const ps = async (...columns: string[]) =>
      (await promisify(execFile)("ps", ["-ww", ...columns, "-p", `${pid}`])).stdout.trim();
    const program = await ps("-o", "comm=");
    const args = `${await ps("-o", "args=")} `.slice(program.length + 1);
    return { parent: Number(await ps("-o", "ppid=")), program, args };
  } catch {
    return { parent: 0, program: "", args: "" };
  }
}
