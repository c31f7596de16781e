import { write as writeTo } from "node:fs";

/** Characters that may wait to be written: about a second of the log of every call at full load. */
const longestQueue = 16 * 2 ** 20;

/** Characters that one write takes at most: what a pipe holds. */
const longestWrite = 64 * 2 ** 10;

/** The pauses before a write that failed is tried again, in milliseconds: the first, and the longest. */
const firstPause = 5;
const longestPause = 1_000;

export interface LogWriter {
  /** Takes a whole line, or several. Never waits, never throws: beyond what may wait, it drops and counts. */
  write(lines: string): void;
  /** How often `write` has dropped what it got. */
  droppedLines(): number;
  /**
   * Waits until everything is written, or cannot be, or the time is over.
   *
   * @param within in milliseconds.
   * @returns false while a write is stuck, which keeps the process from ending unless it calls `process.exit`.
   */
  end(within: number): Promise<boolean>;
}

/**
 * Writes lines to a file descriptor without ever blocking the event loop, whatever it leads to: a full disk, a pipe, a
 * socket or a terminal that nobody reads. The writes block in a thread of libuv's instead, one at a time, since O_NONBLOCK
 * would be set for every process that shares the descriptor. Lines keep their order and are never torn: what is left of a
 * line when the disk is full is written once there is room again.
 *
 * @param describeLoss the line that stands in the place of `count` lines that were dropped.
 */
export function createLogWriter(fd: number, describeLoss: (count: number) => string): LogWriter {
  const waiting: string[] = [];
  let length = 0;
  /** What the next write takes. Empty: take it from those that wait. */
  let chunk: Buffer = Buffer.alloc(0);
  let dropped = 0;
  /** Dropped since the log last said so. */
  let untold = 0;
  let state: "idle" | "scheduled" | "writing" | "paused" = "idle";
  let pause = firstPause;
  let retry: NodeJS.Timeout | undefined;
  let guarded = false;
  let settled: (() => void) | undefined;

  function write(lines: string): void {
    // Once one is dropped, more are, until half the queue is free: one gap, not many.
    if (untold > 0 || length + lines.length > longestQueue) {
      dropped++;
      untold++;
      return;
    }
    enqueue(lines);
    if (state !== "idle") return;
    state = "scheduled";
    // Everything that is logged in this turn of the event loop makes one write.
    setImmediate(writeOn);
  }

  function enqueue(lines: string): void {
    waiting.push(lines);
    length += lines.length;
  }

  function writeOn(): void {
    if (chunk.length === 0) chunk = takeChunk();
    state = "writing";
    if (!guarded) {
      guarded = true;
      process.once("exit", leaveStuckWrite);
    }
    writeTo(fd, chunk, 0, chunk.length, null, wrote);
  }

  function takeChunk(): Buffer {
    let count = 0;
    let taken = 0;
    for (const lines of waiting) {
      if (count > 0 && taken + lines.length > longestWrite) break;
      taken += lines.length;
      count++;
    }
    length -= taken;
    return Buffer.from(waiting.splice(0, count).join(""));
  }

  function wrote(error: NodeJS.ErrnoException | null, bytes: number): void {
    if (error !== null) {
      state = "paused";
      retry = setTimeout(writeOn, pause).unref();
      pause = Math.min(2 * pause, longestPause);
      // Another process has set O_NONBLOCK, and the reader is slow. Every other error is likely to last.
      if (error.code !== "EAGAIN") settled?.();
      return;
    }
    pause = firstPause;
    chunk = chunk.subarray(bytes);
    state = "idle";
    if (untold > 0 && length <= longestQueue / 2) {
      const count = untold;
      untold = 0;
      enqueue(describeLoss(count));
    }
    if (chunk.length > 0 || waiting.length > 0) writeOn();
    else settled?.();
  }

  /** At exit, libuv waits for its threads: the write that is stuck ends only with the program, which another replaces. */
  function leaveStuckWrite(code: number): void {
    if (state !== "writing") return;
    process.execve?.(process.execPath, [process.execPath, "--eval", `process.exitCode = ${code}`], {});
  }

  async function end(within: number): Promise<boolean> {
    if (state === "paused") {
      clearTimeout(retry);
      writeOn();
    }
    if (state === "idle") return true;
    const { promise, resolve } = Promise.withResolvers<void>();
    settled = resolve;
    const late = setTimeout(resolve, within);
    await promise;
    clearTimeout(late);
    settled = undefined;
    return state !== "writing";
  }

  return { write, droppedLines: () => dropped, end };
}
