import { type ChildProcess, execFile, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const cli = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));

type Environment = Readonly<Record<string, string>>;

/** One line of the log. */
interface LogLine extends Record<string, unknown> {
  readonly level: string;
  readonly msg: string;
}

/** How a process ended. */
export interface Exit {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A process of the service. Disposing of it kills what is still running. */
export interface Running extends AsyncDisposable {
  readonly process: ChildProcess;
  /** Settles when it has ended and all of its output has been read. */
  readonly exit: Promise<Exit>;
  /** Its log so far. */
  readonly logs: readonly LogLine[];
  /** Waits for a line of the log. @throws Error with all that the process wrote, when it ends without that line. */
  logged(message: string): Promise<LogLine>;
  /** Waits until its standard output contains a text. @throws Error as `logged` does. */
  wrote(text: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
}

/** A service that listens. */
export interface Serving extends Running {
  readonly port: number;
  readonly url: string;
}

/** Settings for any machine: with the default of MAX_CONNECTIONS, most would warn that `ulimit -n` is too low. */
export const anyMachine = { HOST: "127.0.0.1", PORT: "0", MAX_CONNECTIONS: "2000" };

/**
 * A folder in which Node keeps what it compiled of src/ and its dependencies, for the processes that tests start: each of
 * them then starts with a third of the work.
 */
export const compileCache = {
  NODE_COMPILE_CACHE: fileURLToPath(new URL("../../node_modules/.cache/compile", import.meta.url)),
};

/** Runs `src/cli.ts` with no settings in its environment but those that the test gives. */
export function runCli(args: readonly string[], env: Environment = {}, options: SpawnOptions = {}): Running {
  return run([process.execPath, cli, ...args], { env: { ...compileCache, ...env }, ...options });
}

/** Runs `serve` on a free port of the loopback interface, and waits until it listens. */
export async function startServing(env: Environment, options: SpawnOptions = {}): Promise<Serving> {
  const running = runCli(["serve"], { ...anyMachine, ...env }, options);
  return { ...running, ...(await listening(running)), [Symbol.asyncDispose]: running[Symbol.asyncDispose] };
}

/** Waits until a service listens. */
export async function listening(running: Running): Promise<{ port: number; url: string }> {
  const { port } = await running.logged("listening");
  return { port: Number(port), url: `http://127.0.0.1:${port}` };
}

/** What runs of all that `run` has started. */
const running = new Set<Running>();
process.once("exit", () => {
  for (const { process: child } of running) child.kill("SIGKILL");
});

/** Ends every process that `run` has started and nothing has disposed of. @returns their command lines. */
export async function endLeftovers(): Promise<string[]> {
  const leftovers = [...running];
  for (const leftover of leftovers) await leftover[Symbol.asyncDispose]();
  return leftovers.map(({ process: child }) => child.spawnargs.join(" "));
}

/** Runs a program and reads its standard output as a log. */
export function run([program, ...args]: readonly string[], options: SpawnOptions): Running {
  const child = spawn(program ?? "", args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  const logs: LogLine[] = [];
  const waiting = new Map<string, PromiseWithResolvers<LogLine>>();
  let stdout = "";
  let stderr = "";
  let ended: Error | undefined;
  const texts = new Map<string, PromiseWithResolvers<void>>();

  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
    stdout += `${line}\n`;
    for (const [text, { resolve }] of texts) if (line.includes(text)) resolve();
    if (!line.startsWith('{"level":')) return;
    const log: LogLine = JSON.parse(line);
    logs.push(log);
    waiting.get(log.msg)?.resolve(log);
  });

  async function untilExit(): Promise<Exit> {
    // At "exit", the last output may not have been read yet.
    const [code, signal] = await once(child, "close").finally(() => running.delete(handle));
    ended = new Error(`the process ended with ${signal ?? code}. It wrote:\n${stdout}${stderr}`);
    for (const { reject } of [...waiting.values(), ...texts.values()]) reject(ended);
    return { code, signal, stdout, stderr };
  }

  const handle: Running = {
    process: child,
    exit: untilExit(),
    logs,
    logged(message) {
      const found = logs.find((log) => log.msg === message);
      if (found !== undefined) return Promise.resolve(found);
      if (ended !== undefined) return Promise.reject(ended);
      const line = waiting.get(message) ?? Promise.withResolvers<LogLine>();
      waiting.set(message, line);
      return line.promise;
    },
    wrote(text) {
      if (stdout.includes(text)) return Promise.resolve();
      if (ended !== undefined) return Promise.reject(ended);
      const written = texts.get(text) ?? Promise.withResolvers<void>();
      texts.set(text, written);
      return written.promise;
    },
    kill: (signal) => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await handle.exit;
    },
  };
  running.add(handle);
  return handle;
}

/** A process of this machine. */
export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** All processes of this machine but zombies. */
export async function processesNow(): Promise<Process[]> {
  const { stdout } = await promisify(execFile)("ps", ["-axww", "-o", "pid=,ppid=,stat=,args="], {
    maxBuffer: 1e8,
  });
  return stdout.split("\n").flatMap((line) => {
    const [, pid, parent, state, command = ""] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? [];
    return state === undefined || state.startsWith("Z")
      ? []
      : [{ pid: Number(pid), parent: Number(parent), command }];
  });
}

/** The descendants of a process. */
export async function descendantsOf(ancestor: number): Promise<Process[]> {
  const processes = await processesNow();
  const found = new Set([ancestor]);
  // A child may have a lower pid than its parent: one pass for each generation.
  for (let before = 0; before !== found.size; ) {
    before = found.size;
    for (const { pid, parent } of processes) if (found.has(parent)) found.add(pid);
  }
  return processes.filter(({ pid }) => pid !== ancestor && found.has(pid));
}
