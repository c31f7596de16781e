import { setTimeout as pause } from "node:timers/promises";

/**
 * Asks again and again until it is so. For set-ups, and for programs that are not tests: vitest's `expect.poll` works
 * in tests alone.
 *
 * @param timeout in milliseconds.
 * @param explain tells what those say who were waited for, once the time is over.
 * @throws Error that says what was waited for.
 */
export async function until(
  what: string,
  isSo: () => Promise<boolean> | boolean,
  timeout: number,
  explain?: () => Promise<string>,
): Promise<void> {
  const giveUpAt = performance.now() + timeout;
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) {
      const reason = await explain?.();
      throw new Error([`waited for ${timeout} ms in vain: ${what}`, reason].filter(Boolean).join("\n"));
    }
    await pause(50);
  }
}
