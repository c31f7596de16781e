import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** What a file holds, or why it cannot be read. */
export type Content = string | NodeJS.ErrnoException;

/** How often, in milliseconds, files are looked at. */
const interval = 1_000;

/**
 * Reads files, and reads them again once a second. That finds every change, by whatever name it comes about: written
 * in place, moved over the old file, or behind a symbolic link that leads elsewhere now, as Kubernetes does it.
 *
 * @param changed gets all of the contents, in order, each time that one has become another. Once when a file cannot be read.
 * @returns the first contents. Disposing of them ends the watch, which by itself keeps no process alive.
 */
export function watchFiles(
  paths: readonly string[],
  changed: (contents: readonly Content[]) => void,
): Disposable & { readonly contents: readonly Content[] } {
  const contents = paths.map(readNow);
  let last: readonly Content[] = contents;
  let looking = false;

  async function look(): Promise<void> {
    if (looking) return;
    looking = true;
    const found = await Promise.all(
      paths.map((path) => readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => error)),
    );
    looking = false;
    if (found.every((content, index) => isSame(content, last[index]))) return;
    last = found;
    changed(found);
  }

  const timer = setInterval(look, interval).unref();
  return { contents, [Symbol.dispose]: () => clearInterval(timer) };
}

/** @returns what a file holds now. */
export function readNow(path: string): Content {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

function isSame(one: Content, other: Content | undefined): boolean {
  if (typeof one === "string" || typeof other === "string") return one === other;
  return one.code === other?.code;
}
