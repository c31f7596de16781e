import { setTimeout as pause } from "node:timers/promises";

/**
 * Polls a condition until it holds. For set-up code, and for programs that are not tests: vitest's `expect.poll` works in
 * tests alone.
 *
 * @param what names the condition, for the error.
 * @param timeout in milliseconds.
 * @param explain describes the state of what was waited for. It is called after the timeout, for the error.
 * @throws Error after the timeout.
 */
export async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  timeout: number,
  explain?: () => Promise<string>,
): Promise<void> {
  const deadline = performance.now() + timeout;
  while (!(await holds())) {
    if (performance.now() > deadline) {
      const reason = await explain?.();
      throw new Error([`waited for ${timeout} ms in vain: ${what}`, reason].filter(Boolean).join("\n"));
    }
    await pause(50);
  }
}
