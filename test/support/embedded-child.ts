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

const embedded = fileURLToPath(new URL("../../src/store/embedded/embedded.ts", import.meta.url));

export interface EmbeddedChild {
  readonly process: Child;
  readonly server: Pick<EmbeddedPostgres, "url" | "port" | "dataDirectory" | "pid">;
}

// Reports the server once it runs. Then the end of its input makes it stop the server, SIGINT makes it say so,
// and SIGTERM makes it forget the server, so that it has nothing left to do.
const script = `
  const [module, directory] = process.argv.slice(1);
  const { startEmbedded } = await import(module);
  const server = await startEmbedded({ directory, settings: { fsync: "off" } });
  const stop = () => server[Symbol.asyncDispose]();
  process.stdin.on("end", stop).resume();
  process.on("SIGINT", () => console.log("interrupted"));
  process.once("SIGTERM", () => process.stdin.off("end", stop).destroy());
  console.log(JSON.stringify(server));`;

/** Starts an embedded server in a process of its own, which keeps it until the end of its input. */
export function spawnEmbedded(directory: string, options: SpawnOptions = {}, module = embedded): Child {
  return spawn(process.execPath, ["--input-type=module", "-e", script, module, directory], {
    cwd: "/",
    ...options,
    stdio: "pipe",
  });
}

/** Waits until the server of a child runs; rejects with what the child had to say when it ends instead. */
export async function runningIn(child: Child): Promise<EmbeddedChild> {
  const complaint = text(child.stderr);
  const [line] = await Promise.race([once(child.stdout, "data"), once(child, "close")]);
  if (!Buffer.isBuffer(line)) throw new Error(await complaint);
  return { process: child, server: JSON.parse(`${line}`) };
}

/** Kills a process as the kernel would, with no chance to say good-bye. */
export async function killed(child: Child): Promise<void> {
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

/** The processes in whose command line a text occurs. */
export async function processesWith(text: string): Promise<{ pid: number; command: string }[]> {
  const { stdout } = await promisify(execFile)("ps", ["-axww", "-o", "pid=,args="], { maxBuffer: 1e8 });
  return stdout
    .split("\n")
    .filter((line) => line.includes(text))
    .map((line) => ({ pid: Number.parseInt(line, 10), command: line.replace(/^\s*\d+\s+/, "") }));
}

/** Waits until no such process is left, for those that are not our children and whose end is no event. */
export async function noProcessWith(text: string): Promise<void> {
  for (let tries = 0; (await processesWith(text)).length > 0; tries++) {
    if (tries === 200) throw new Error(`processes of ${text} are still running`);
    await pause(50);
  }
}
