import { execFile } from "node:child_process";
import { cp, mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { unpackDebian } from "../support/debian.ts";
import { toolCache } from "../support/tool-cache.ts";
import { buf, install, type Tool } from "./tools.ts";

const run = promisify(execFile);

/** The time limit of a build of two hundred crates on a busy machine, in milliseconds. */
const compileTimeout = 600_000;

/**
 * Builds a client program of test/interop/rust in the cache, where cargo keeps unchanged parts.
 *
 * @param name the program's, and that of the crate whose version is the tool's.
 * @throws Error that names the tool.
 */
export function buildRust(name: string): Promise<Tool> {
  return install(name, async () => {
    const directory = join(toolCache, "rust");
    const source = join(directory, "source");
    await rm(source, { recursive: true, force: true });
    await mkdir(directory, { recursive: true });
    // With their times, by which cargo detects changes.
    await cp(join(import.meta.dirname, "rust"), source, { recursive: true, preserveTimestamps: true });
    const descriptors = join(directory, "status.binpb");
    await buf("build", "-o", descriptors);
    const cargo = await findCargo();
    const target = join(directory, "target");
    await run(cargo.path, ["build", "--locked", "--quiet", "--bin", name, "--target-dir", target], {
      cwd: source,
      env: { ...process.env, ...cargo.env, CARGO_HOME: join(directory, "home"), DESCRIPTORS: descriptors },
      timeout: compileTimeout,
    });
    const manifest = await readFile(join(source, "Cargo.toml"), "utf8");
    const [, version] = new RegExp(`^${name} = .*"=([^"]+)"`, "m").exec(manifest) ?? [];
    return { title: `${name} ${version}`, path: join(target, "debug", name) };
  });
}

/** @returns this machine's cargo, or Debian's newest if it is too old. Both link with the machine's `cc`. */
async function findCargo(): Promise<{ path: string; env: NodeJS.ProcessEnv }> {
  const { stdout } = await run("cargo", ["--version"]).catch(() => ({ stdout: "" }));
  const [, minor = 0] = /^cargo 1\.(\d+)/.exec(stdout) ?? [];
  if (Number(minor) >= 85) return { path: "cargo", env: {} };
  const { directory, env } = await unpackDebian("cargo-web", "rustc-web");
  return { path: join(directory, "usr/bin/cargo"), env: { ...env, RUSTC: join(directory, "usr/bin/rustc") } };
}
