import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { freePort } from "../../../src/store/embedded/embedded.ts";
import type { Tool } from "../tools.ts";

/**
 * How many calls the service holds on one connection by default: 80 % of MAX_CONCURRENT_STREAMS. A proxy that has no more on
 * one opens the next before any call is shed.
 */
export const heldOfConnection = 80;

/** How one kind of reverse proxy is installed, configured and reloaded. */
export interface ProxyKind {
  readonly install: () => Promise<Tool>;
  readonly configFile: string;
  /** The configuration. It adds the header `Generation`, which names the configuration that answered. */
  readonly config: (addresses: Addresses, generation: number) => string;
  readonly args: (addresses: Addresses, generation: number) => readonly string[];
  /** How it reloads its configuration: by a signal, or by a second process that replaces the first. */
  readonly reloadBy: NodeJS.Signals | "successor";
  /** The path of a file that it leaves outside its folder. */
  readonly leaves?: (addresses: Addresses) => string;
}

/** The folder and the ports of a proxy, and the port of the service behind it. */
export interface Addresses {
  readonly directory: string;
  readonly servicePort: number;
  /** Ports of 127.0.0.1. A proxy that detects the protocol itself may leave one of them unused. */
  readonly http1Port: number;
  readonly http2Port: number;
}

/** A reverse proxy in front of the service. Disposing of it ends its processes and removes its folder. */
export interface ReverseProxy extends AsyncDisposable {
  /** The URLs for calls over HTTP/1.1 and over HTTP/2. */
  readonly urls: { readonly http1: string; readonly http2: string };
  /** Reloads the configuration. Settles once it serves new connections. */
  reload(): Promise<void>;
}

export async function startReverseProxy(
  kind: ProxyKind,
  { path, env }: Tool,
  servicePort: number,
): Promise<ReverseProxy> {
  const directory = await mkdtemp(join(tmpdir(), "gomemory-status-proxy-"));
  const addresses = { directory, servicePort, http1Port: await freePort(), http2Port: await freePort() };
  const urls = {
    http1: `http://127.0.0.1:${addresses.http1Port}`,
    http2: `http://127.0.0.1:${addresses.http2Port}`,
  };
  const processes: ChildProcess[] = [];
  let generation = 0;
  let output = "";

  async function start(): Promise<void> {
    const child = spawn(path, kind.args(addresses, generation), {
      cwd: directory,
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    child.stderr.on("data", (chunk) => {
      output += chunk;
    });
    processes.push(child);
    await once(child, "spawn");
  }

  async function nextGeneration(load: () => Promise<void>): Promise<void> {
    generation++;
    await writeFile(join(directory, kind.configFile), kind.config(addresses, generation));
    await load();
    for (let tries = 0; (await generationAt(urls.http1)) !== String(generation); tries++) {
      if (tries === 500 || processes.at(-1)?.exitCode !== null)
        throw new Error(`generation ${generation} of the proxy does not answer: ${output}`);
      await pause(20);
    }
  }

  async function stop(): Promise<void> {
    const running = processes.filter((child) => child.exitCode === null && child.signalCode === null);
    const ends = running.map((child) => once(child, "exit"));
    // nginx and HAProxy end their workers with the master. A graceful shutdown would wait for idle connections.
    for (const child of running) child.kill("SIGTERM");
    await Promise.all(ends);
    await rm(directory, { recursive: true, force: true });
    if (kind.leaves !== undefined) await rm(kind.leaves(addresses), { force: true });
  }

  try {
    await nextGeneration(start);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    urls,
    reload: () =>
      nextGeneration(async () => {
        if (kind.reloadBy === "successor") await start();
        else processes.at(-1)?.kill(kind.reloadBy);
      }),
    [Symbol.asyncDispose]: stop,
  };
}

/** @returns the generation of the configuration that serves a new connection. */
async function generationAt(url: string): Promise<string | null> {
  const answer = await fetch(`${url}/healthz`, { headers: { Connection: "close" } }).catch(() => undefined);
  return answer?.headers.get("generation") ?? null;
}
