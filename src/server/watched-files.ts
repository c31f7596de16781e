import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** The text of a file, or the error that reading it failed with. */
export type Content = string | NodeJS.ErrnoException;

/** How often, in milliseconds, files are read again. */
const interval = 1_000;

/**
 * Reads files, and reads them again once a second. This finds changes that file system events miss: a file written in place,
 * moved over the old one, or behind a symbolic link that changes its target, as in Kubernetes' volumes.
 *
 * @param onChange gets all contents, in order, each time that one of them has changed. Once when a file becomes unreadable.
 * @returns the first contents. Disposing of them ends the watch, which by itself keeps no process alive.
 */
export function watchFiles(
  paths: readonly string[],
  onChange: (contents: readonly Content[]) => void,
): Disposable & { readonly contents: readonly Content[] } {
  const contents = paths.map(readNow);
  let last: readonly Content[] = contents;
  let isReading = false;

  async function readAgain(): Promise<void> {
    if (isReading) return;
    isReading = true;
    const current = await Promise.all(
      paths.map((path) => readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => error)),
    );
    isReading = false;
    if (current.every((content, index) => isSame(content, last[index]))) return;
    last = current;
    onChange(current);
  }

  const timer = setInterval(readAgain, interval).unref();
  return { contents, [Symbol.dispose]: () => clearInterval(timer) };
}

/** @returns the current content of a file. */
export function readNow(path: string): Content {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

/** @returns that a file cannot be read, and why: the rest of a sentence that begins with its path. */
export function unreadable({ code }: NodeJS.ErrnoException): string {
  return `cannot be read (${code})`;
}

function isSame(one: Content, other: Content | undefined): boolean {
  if (typeof one === "string" || typeof other === "string") return one === other;
  return one.code === other?.code;
}
