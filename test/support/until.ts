import { setTimeout as pause } from "node:timers/promises";

/**
 * Asks again and again until it is so. For set-ups, and for programs that are not tests: vitest's `expect.poll` works
 * in tests alone.
 *
 * @param timeout in milliseconds.
 * @throws Error that says what was waited for.
 */
export async function until(
  what: string,
  isSo: () => Promise<boolean> | boolean,
  timeout: number,
): Promise<void> {
  const giveUpAt = performance.now() + timeout;
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) throw new Error(`waited for ${timeout} ms in vain: ${what}`);
    await pause(50);
  }
}
