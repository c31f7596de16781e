import { execFile } from "node:child_process";
import { mkdir, readdir } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { installPatience, once, toolCache } from "./tool-cache.ts";

const run = promisify(execFile);

/** Debian packages that were unpacked, not installed. */
export interface Unpacked {
  /** Stands for `/`: what a package has at `/usr/bin/x` is at `usr/bin/x` here. */
  readonly directory: string;
  /** What their programs have to find in their environment. */
  readonly env: { readonly LD_LIBRARY_PATH?: string };
  /** The version of a package, without the epoch and Debian's own revision. */
  version(name: string): string;
}

/**
 * Unpacks Debian packages, and what the machine lacks of their dependencies, into the cache. The machine stays as it
 * is, and an ordinary user may do it as well as root.
 *
 * @throws what apt-get and dpkg say.
 */
export async function unpackDebian(...names: readonly [string, ...string[]]): Promise<Unpacked> {
  const directory = join(toolCache, `debian-${names.join("+")}`);
  const lists = join(toolCache, "apt");
  await once(directory, async () => {
    await mkdir(join(lists, "lists", "partial"), { recursive: true });
    await mkdir(join(lists, "archives", "partial"), { recursive: true });
    const options = [`Dir::State::Lists=${lists}/lists`, `Dir::Cache=${lists}`, "Debug::NoLocking=true"];
    const apt = (...args: string[]) =>
      run("apt-get", [...options.flatMap((option) => ["-o", option]), ...args], {
        cwd: directory,
        timeout: installPatience,
      });
    await apt("update");
    const { stdout } = await apt("install", "--simulate", "--no-install-recommends", ...names);
    const missing = Array.from(stdout.matchAll(/^Inst (\S+)/gm), ([, dependency = ""]) => dependency);
    await apt("download", ...new Set([...names, ...missing]));
    for (const file of await readdir(directory)) await run("dpkg", ["-x", file, "."], { cwd: directory });
  });
  const files = await readdir(directory);
  const { stdout: folders } = await run("find", [directory, "-name", "*.so.*", "-printf", "%h\n"]);
  const libraries = [...new Set(folders.split("\n").filter(Boolean))];
  return {
    directory,
    env: libraries.length > 0 ? { LD_LIBRARY_PATH: libraries.join(delimiter) } : {},
    version(name) {
      const pattern = new RegExp(`^${name}_(?:\\d+%3a)?([^-_]+)`);
      return files.map((file) => pattern.exec(file)?.[1]).find(Boolean) ?? "";
    },
  };
}
