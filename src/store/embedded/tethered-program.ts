import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";

/** A user to run a program as. Only root may name one. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** PostgreSQL's fast shutdown, its immediate shutdown, and the end of a server that heeds neither. */
export const stopSignals = ["SIGINT", "SIGQUIT", "SIGKILL"] as const;
/** The time, in milliseconds, between one of them and the next. */
export const stopTimeoutMs = 5_000;

const linesKept = 20;

// The watcher is forked first, and then the program takes the place of the shell. So the program stays a direct
// child with a known pid, and ignores no signal, as it would when started with "&".
// The watcher reads a pipe that this process holds: a line means that the program has ended; end of file, that this
// process has.
// Its own parent exits at once, since PostgreSQL should not find a child that it did not start.
const tether = `
  exec 3<&0 </dev/null
  ( (
    read -r _ <&3 && exit
    for signal in INT QUIT KILL; do
      kill -$signal $$ || exit
      for second in 1 2 3 4 5; do sleep 1; kill -0 $$ || exit; done
    done
  ) 2>/dev/null & )
  exec "$@" 3<&-`;

/** A program that ends when this process does, even by SIGKILL. */
export interface Tethered {
  readonly pid: number;
  /** Settles when the program and its descendants have ended. Never rejects. */
  readonly ended: Promise<void>;
  /** Its exit code or the signal that ended it; undefined while it runs. */
  readonly status: number | NodeJS.Signals | undefined;
  /** How it ended, if it has, and the last lines that it printed, for error messages. */
  describeEnd(): string;
  /** Sends it the {@link stopSignals}, one every 5 s, until it has ended. */
  stop(): Promise<void>;
  /** Lets this process end while the program runs; that ends the program, too. */
  unref(): void;
}

export interface TetherOptions {
  readonly account?: Account | undefined;
  /** Its environment besides PATH. What this process has, such as PGPORT or PGDATA, is not for it. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called for each line that the program prints. */
  readonly onLine?: (line: string) => void;
}

/**
 * Starts a program in a session of its own, where the terminal's Ctrl-C does not reach it.
 * @throws Error when it cannot be started at all
 */
export async function startTethered(
  command: readonly [program: string, ...args: string[]],
  { account, env, onLine }: TetherOptions = {},
): Promise<Tethered> {
  const child = spawn("/bin/sh", ["-c", tether, "sh", ...command], {
    stdio: "pipe",
    cwd: "/", // the caller's folder may be closed to the account
    env: { PATH: process.env.PATH, ...env },
    detached: true,
    ...account,
  });
  const handles = [child, ...[child.stdin, child.stdout, child.stderr].map((pipe) => pipe as Socket)];
  const ended = Promise.withResolvers<void>();
  const lines: string[] = [];
  for (const output of [child.stdout, child.stderr]) {
    createInterface({ input: output }).on("line", (line) => {
      lines.push(line);
      if (lines.length > linesKept) lines.shift();
      onLine?.(line);
    });
  }
  child.stdin.on("error", () => {}); // the watcher was killed
  child.on("exit", () => child.stdin.end("ended\n"));
  child.on("close", () => ended.resolve()); // every process that held the output has ended
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.on("error", reject);
  });

  return {
    pid: child.pid as number,
    ended: ended.promise,
    get status() {
      return child.signalCode ?? child.exitCode ?? undefined;
    },
    describeEnd() {
      const code = child.exitCode === null ? undefined : `exit code ${child.exitCode}`;
      const status = child.signalCode ?? code;
      const state = status === undefined ? "it still runs" : `it ended with ${status}`;
      return [`${state}; its last lines:`, ...lines].join("\n  ");
    },
    stop() {
      for (const handle of handles) handle.ref();
      const timers = stopSignals.map((signal, index) =>
        setTimeout(() => child.kill(signal), index * stopTimeoutMs),
      );
      return ended.promise.finally(() => timers.forEach(clearTimeout));
    },
    unref() {
      for (const handle of handles) handle.unref();
    },
  };
}

/**
 * Waits until a program has ended, or until `ready` settles.
 * @throws the signal's reason when it fires first; the program has ended then
 */
export async function untilEnded(
  program: Tethered,
  signal: AbortSignal | undefined,
  ready?: Promise<void>,
): Promise<void> {
  const stop = () => void program.stop();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  await Promise.race(ready ? [program.ended, ready] : [program.ended]);
  signal?.removeEventListener("abort", stop);
  if (!signal?.aborted) return;
  await program.stop();
  throw signal.reason;
}
