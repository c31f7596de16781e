// What the log uses of Node without Node documenting it. Each function has a test of the same name in
// test/telemetry/node-internals.test.ts, which fails when a version of Node changes what the function relies on.

/**
 * Clears O_NONBLOCK on standard streams that are pipes or sockets. Node sets it as soon as any module imports `node:process`
 * (commander does), and thereby for every process that shares the pipe.
 */
export function keepBlocking(...streams: NodeJS.WriteStream[]): void {
  for (const stream of streams) {
    const { _handle } = stream as { _handle?: { setBlocking?(blocking: boolean): void } };
    _handle?.setBlocking?.(true);
  }
}

/**
 * To be called in a listener of "exit" while a write blocks in a thread of libuv, which Node would wait for: another program
 * replaces this one, and with it the thread, and exits.
 */
export function exitDespiteBlockedWrite(code: number): void {
  process.execve?.(process.execPath, [process.execPath, "--eval", `process.exitCode = ${code}`], {});
}
