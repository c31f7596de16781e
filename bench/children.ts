import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";

/** A running program, pinned to some CPUs. Disposing of it ends the program. */
export interface Child extends AsyncDisposable {
  readonly pid: number;
  readonly process: ChildProcess;
  /** Rejects when the program ends on its own, with the last lines that it printed. */
  readonly failed: Promise<never>;
}

export interface ChildOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string | undefined;
  /** Whether the two processes exchange messages (Node's IPC channel). */
  readonly channel?: boolean;
}

const alive = new Set<ChildProcess>();
const stopTimeout = 5_000;
const linesKept = 20;

/** Kills every program that still runs. Each one's `failed` rejects. */
export function killChildren(): void {
  for (const child of alive) child.kill("SIGKILL");
}

// Runs at every end of this process but SIGKILL.
process.on("exit", killChildren);

/** @param cpus as taskset writes them, like `0` or `2-7`. */
export function startChild(
  name: string,
  cpus: string,
  command: readonly string[],
  { env = process.env, cwd, channel = false }: ChildOptions,
): Child {
  // taskset becomes the program: the pid is the program's own.
  const child = spawn("taskset", ["--cpu-list", cpus, ...command], {
    env,
    cwd,
    stdio: ["ignore", "pipe", "pipe", ...(channel ? (["ipc"] as const) : [])],
  });
  const { ended, lastLines } = follow(child);
  let stopping = false;
  const failed = ended.then(() => {
    if (stopping) return new Promise<never>(() => {});
    throw new Error(`${name} ended:\n${lastLines()}`);
  });
  failed.catch(() => {});

  return {
    pid: child.pid ?? 0,
    process: child,
    failed,
    async [Symbol.asyncDispose]() {
      stopping = true;
      child.kill("SIGTERM");
      const killing = setTimeout(() => child.kill("SIGKILL"), stopTimeout);
      await ended;
      clearTimeout(killing);
    },
  };
}

/** Runs a program to its end. @throws Error with the last lines that it printed. */
export async function runToEnd(
  command: readonly [string, ...string[]],
  options: Pick<SpawnOptions, "cwd" | "env"> = {},
): Promise<void> {
  const [program, ...args] = command;
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  const { ended, lastLines } = follow(child);
  await ended;
  if (child.exitCode !== 0) throw new Error(`\`${command.join(" ")}\` failed:\n${lastLines()}`);
}

/** @returns a program's standard output, undefined when it is not installed or fails. */
export function outputOf(program: string, ...args: string[]): string | undefined {
  const { status, stdout } = spawnSync(program, args, { encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}

function follow(child: ChildProcess): { ended: Promise<unknown>; lastLines: () => string } {
  alive.add(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (text) => {
      output = `${output}${text}`.split("\n").slice(-linesKept).join("\n");
    });
  }
  const ended = once(child, "close")
    .catch((error: Error) => {
      output = error.message;
    })
    .finally(() => alive.delete(child));
  return { ended, lastLines: () => output };
}
