import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { freePort } from "../../../src/store/embedded/embedded.ts";
import type { Tool } from "../tools.ts";

/** How one kind of reverse proxy is told what to do. */
export interface ProxyKind {
  readonly install: () => Promise<Tool>;
  readonly configFile: string;
  /** Its answers carry the header `Generation`, which tells which configuration they were made under. */
  readonly config: (place: Place, generation: number) => string;
  readonly args: (place: Place, generation: number) => readonly string[];
  /** What makes it load its configuration anew: a signal, or a second process that takes over. */
  readonly reloadBy: NodeJS.Signals | "successor";
  /** A file that it leaves outside its folder. */
  readonly leaves?: (place: Place) => string;
}

/** Where a proxy lives, and what it stands before. */
export interface Place {
  readonly directory: string;
  readonly servicePort: number;
  /** On 127.0.0.1. A proxy that tells HTTP/2 from HTTP/1.1 by itself may leave one of them alone. */
  readonly http1Port: number;
  readonly http2Port: number;
}

/** A reverse proxy before the service. Disposing of it ends its processes and removes its folder. */
export interface ReverseProxy extends AsyncDisposable {
  /** For calls over HTTP/1.1, and for those over HTTP/2. */
  readonly urls: { readonly http1: string; readonly http2: string };
  /** Loads the configuration anew. Settled once new connections come under it. */
  reload(): Promise<void>;
}

export async function startReverseProxy(
  kind: ProxyKind,
  { path, env }: Tool,
  servicePort: number,
): Promise<ReverseProxy> {
  const directory = await mkdtemp(join(tmpdir(), "gomemory-status-proxy-"));
  const place = { directory, servicePort, http1Port: await freePort(), http2Port: await freePort() };
  const urls = {
    http1: `http://127.0.0.1:${place.http1Port}`,
    http2: `http://127.0.0.1:${place.http2Port}`,
  };
  const processes: ChildProcess[] = [];
  let generation = 0;
  let said = "";

  async function start(): Promise<void> {
    const child = spawn(path, kind.args(place, generation), {
      cwd: directory,
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    child.stderr.on("data", (chunk) => {
      said += chunk;
    });
    processes.push(child);
    await once(child, "spawn");
  }

  async function nextGeneration(load: () => Promise<void>): Promise<void> {
    generation++;
    await writeFile(join(directory, kind.configFile), kind.config(place, generation));
    await load();
    for (let tries = 0; (await generationAt(urls.http1)) !== String(generation); tries++) {
      if (tries === 500 || processes.at(-1)?.exitCode !== null)
        throw new Error(`generation ${generation} of the proxy does not answer: ${said}`);
      await pause(20);
    }
  }

  async function stop(): Promise<void> {
    const running = processes.filter((child) => child.exitCode === null && child.signalCode === null);
    const ends = running.map((child) => once(child, "exit"));
    // Both nginx and HAProxy end their workers with the master; a polite end would wait for idle connections.
    for (const child of running) child.kill("SIGTERM");
    await Promise.all(ends);
    await rm(directory, { recursive: true, force: true });
    if (kind.leaves !== undefined) await rm(kind.leaves(place), { force: true });
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

/** Which configuration a new connection comes under. */
async function generationAt(url: string): Promise<string | null> {
  const answer = await fetch(`${url}/healthz`, { headers: { Connection: "close" } }).catch(() => undefined);
  return answer?.headers.get("generation") ?? null;
}
