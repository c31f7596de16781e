import { execFile } from "node:child_process";
import { access, mkdir, readdir, rm, symlink } from "node:fs/promises";
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
 * Unpacks Debian packages and all that they depend on into the cache, whatever the machine has of them. The machine
 * stays as it is, and an ordinary user may do it as well as root.
 *
 * @throws what apt-get and dpkg say.
 */
export async function unpackDebian(...names: readonly [string, ...string[]]): Promise<Unpacked> {
  const directory = join(toolCache, `unpacked-${names.join("+")}`);
  await once(directory, async () => {
    await apt(directory, "update");
    await apt(directory, "download", ...(await listPackages(...names)));
    for (const file of await readdir(directory)) await run("dpkg", ["-x", file, "."], { cwd: directory });
    await redirectLinks(directory);
  });
  const files = await readdir(directory);
  const { stdout: folders } = await run("find", [
    directory,
    "(",
    "-name",
    "*.so.*",
    "-o",
    "-name",
    "lib*.so",
    ")",
    "-printf",
    "%h\n",
  ]);
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

/** Has links from `/` lead to what is unpacked, where it is: a JDK's configuration is in /etc. */
async function redirectLinks(directory: string): Promise<void> {
  const { stdout } = await run("find", [directory, "-lname", "/*", "-printf", "%p\t%l\n"]);
  for (const line of stdout.split("\n").filter(Boolean)) {
    const [link = "", target = ""] = line.split("\t");
    const unpacked = join(directory, target);
    const isUnpacked = await access(unpacked).then(
      () => true,
      () => false,
    );
    if (!isUnpacked) continue;
    await rm(link);
    await symlink(unpacked, link);
  }
}

/**
 * What to unpack for packages: they and their dependencies, as if nothing were installed. A package that the machine
 * has today is not left out, since its programs are called where it is unpacked, and it may be removed while the cache
 * stays. Only what apt and dpkg themselves depend on is left to the machine. The C library is: one that does not
 * belong to the machine's dynamic linker would break every program.
 *
 * Reads the lists that the last `apt-get update` of the cache brought.
 */
export async function listPackages(...names: readonly [string, ...string[]]): Promise<string[]> {
  const own = await dependencies("apt", "dpkg");
  return [...(await dependencies(...names)).difference(own)];
}

/** @returns the names of packages and of all that they depend on. */
async function dependencies(...names: readonly string[]): Promise<Set<string>> {
  const nothingInstalled = ["-o", "Dir::State::status=/dev/null"];
  const install = ["install", "--simulate", "--no-install-recommends", ...names];
  const { stdout } = await apt(toolCache, ...nothingInstalled, ...install);
  return new Set(Array.from(stdout.matchAll(/^Inst (\S+)/gm), ([, name = ""]) => name));
}

/** Runs apt-get on lists of our own: those of the machine may be missing, and only root may bring them. */
async function apt(directory: string, ...args: string[]): Promise<{ stdout: string }> {
  const lists = join(toolCache, "apt");
  await mkdir(join(lists, "lists", "partial"), { recursive: true });
  await mkdir(join(lists, "archives", "partial"), { recursive: true });
  const options = [`Dir::State::Lists=${lists}/lists`, `Dir::Cache=${lists}`, "Debug::NoLocking=true"];
  return await run("apt-get", [...options.flatMap((option) => ["-o", option]), ...args], {
    cwd: directory,
    timeout: installPatience,
  });
}
