import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * What the tests install stays here between runs, outside the repository. Root's home is closed to others, and some
 * programs refuse to run as root: whoever runs them instead must be able to read them.
 */
export const toolCache = join(
  process.env.XDG_CACHE_HOME || (process.getuid?.() === 0 ? "/var/cache" : join(homedir(), ".cache")),
  "gomemory-interop",
);

/** Of one installation, in milliseconds: a cold build of a Go program is the longest. */
export const installPatience = 280_000;

/** Fills a folder, unless that was done before. What was given up halfway is begun anew. */
export async function once(directory: string, fill: () => Promise<void>): Promise<void> {
  const complete = join(directory, ".complete");
  if (await stat(complete).catch(() => undefined)) return;
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  await fill();
  await writeFile(complete, "");
}
