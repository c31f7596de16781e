import { write as writeTo } from "node:fs";
import { exitDespiteBlockedWrite } from "./node-internals.ts";

/** Maximum number of characters that wait to be written: about a second of the log of every call at full load. */
const longestQueue = 16 * 2 ** 20;

/** Maximum number of characters in one write: the capacity of a pipe. */
const longestWrite = 64 * 2 ** 10;

/** The first and the longest pause before a failed write is repeated, in milliseconds. */
const firstPause = 5;
const longestPause = 1_000;

export interface LogWriter {
  /** Takes one whole line, or several. Never waits, never throws: lines beyond the queue's limit are dropped and counted. */
  write(lines: string): void;
  /** The number of calls of `write` whose lines were dropped. */
  droppedLines(): number;
  /**
   * Waits until everything is written or cannot be written, for a limited time.
   *
   * @param timeout in milliseconds.
   * @returns false while a write blocks, which keeps the process from ending unless it calls `process.exit`.
   */
  end(timeout: number): Promise<boolean>;
}

/**
 * Writes lines to a file descriptor without blocking the event loop, also when it is a full disk, or a pipe, socket or
 * terminal that no process reads. The writes block in a thread of libuv instead, one at a time, since O_NONBLOCK would be set
 * for every process that shares the descriptor. Lines keep their order and are never torn: the rest of a line that a full
 * disk has cut is written once there is room again.
 *
 * @param describeLoss makes the line that replaces `count` dropped lines.
 */
export function createLogWriter(fd: number, describeLoss: (count: number) => string): LogWriter {
  const waiting: string[] = [];
  let length = 0;
  /** The content of the next write. Empty: the next write takes lines that wait. */
  let chunk: Buffer = Buffer.alloc(0);
  let dropped = 0;
  /** Lines that were dropped since the last line that reports it. */
  let unreported = 0;
  let state: "idle" | "scheduled" | "writing" | "paused" = "idle";
  let pause = firstPause;
  let retry: NodeJS.Timeout | undefined;
  let guarded = false;
  let settled: (() => void) | undefined;

  function write(lines: string): void {
    // Once lines are dropped, all are until half of the queue is free: the log has one gap, not many.
    if (unreported > 0 || length + lines.length > longestQueue) {
      dropped++;
      unreported++;
      return;
    }
    enqueue(lines);
    if (state !== "idle") return;
    state = "scheduled";
    // All lines of this turn of the event loop are written at once.
    setImmediate(writeNext);
  }

  function enqueue(lines: string): void {
    waiting.push(lines);
    length += lines.length;
  }

  function writeNext(): void {
    if (chunk.length === 0) chunk = takeChunk();
    state = "writing";
    if (!guarded) {
      guarded = true;
      process.once("exit", leaveBlockedWrite);
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
      retry = setTimeout(writeNext, pause).unref();
      pause = Math.min(2 * pause, longestPause);
      // EAGAIN: another process has set O_NONBLOCK, and the reader is slow. Any other error is likely to last.
      if (error.code !== "EAGAIN") settled?.();
      return;
    }
    pause = firstPause;
    chunk = chunk.subarray(bytes);
    state = "idle";
    if (unreported > 0 && length <= longestQueue / 2) {
      const count = unreported;
      unreported = 0;
      enqueue(describeLoss(count));
    }
    if (chunk.length > 0 || waiting.length > 0) writeNext();
    else settled?.();
  }

  function leaveBlockedWrite(code: number): void {
    if (state === "writing") exitDespiteBlockedWrite(code);
  }

  async function end(timeout: number): Promise<boolean> {
    if (state === "paused") {
      clearTimeout(retry);
      writeNext();
    }
    if (state === "idle") return true;
    const { promise, resolve } = Promise.withResolvers<void>();
    settled = resolve;
    const late = setTimeout(resolve, timeout);
    await promise;
    clearTimeout(late);
    settled = undefined;
    return state !== "writing";
  }

  return { write, droppedLines: () => dropped, end };
}
