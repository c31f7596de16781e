import {
  type ChildProcessWithoutNullStreams as Child,
  execFile,
  type SpawnOptions,
  spawn,
} from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { EmbeddedPostgres } from "../../src/store/embedded/embedded.ts";
import { compileCache } from "./process.ts";

const embedded = fileURLToPath(new URL("../../src/store/embedded/embedded.ts", import.meta.url));

export interface EmbeddedChild {
  readonly process: Child;
  readonly server: Pick<EmbeddedPostgres, "url" | "port" | "dataDirectory" | "pid">;
}

// Prints the server once it runs. The end of its input stops the server. SIGINT is reported on standard output. SIGTERM
// leaves the server alone and the process without work, so that it ends.
const script = `
  const [module, directory] = process.argv.slice(1);
  const { startEmbedded } = await import(module);
  const server = await startEmbedded({ directory, settings: { fsync: "off" } });
  const stop = () => server[Symbol.asyncDispose]();
  process.stdin.on("end", stop).resume();
  process.on("SIGINT", () => console.log("interrupted"));
  process.once("SIGTERM", () => process.stdin.off("end", stop).destroy());
  console.log(JSON.stringify(server));`;

/** Starts an embedded server in a process of its own, which stops it at the end of its input. */
export function spawnEmbedded(directory: string, options: SpawnOptions = {}, module = embedded): Child {
  return spawn(process.execPath, ["--input-type=module", "-e", script, module, directory], {
    cwd: "/",
    env: { ...process.env, ...compileCache },
    ...options,
    stdio: "pipe",
  });
}

/** Waits until the server of a child runs. @throws Error with the standard error of a child that ends instead. */
export async function runningIn(child: Child): Promise<EmbeddedChild> {
  const stderr = text(child.stderr);
  const [line] = await Promise.race([once(child.stdout, "data"), once(child, "close")]);
  if (!Buffer.isBuffer(line)) throw new Error(await stderr);
  return { process: child, server: JSON.parse(`${line}`) };
}

/** Kills a process with SIGKILL, and waits until it has ended. */
export async function killed(child: Child): Promise<void> {
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

/** The processes whose command line contains a text. */
export async function processesWith(text: string): Promise<{ pid: number; command: string }[]> {
  const { stdout } = await promisify(execFile)("ps", ["-axww", "-o", "pid=,args="], { maxBuffer: 1e8 });
  return stdout
    .split("\n")
    .filter((line) => line.includes(text))
    .map((line) => ({ pid: Number.parseInt(line, 10), command: line.replace(/^\s*\d+\s+/, "") }));
}

/** Waits until no process has a text in its command line. For processes that are not our children, whose end is no event. */
export async function noProcessWith(text: string): Promise<void> {
  for (let tries = 0; (await processesWith(text)).length > 0; tries++) {
    if (tries === 200) throw new Error(`processes of ${text} are still running`);
    await pause(50);
  }
}
