import { execFile } from "node:child_process";
import { cp, mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { toolCache } from "../support/tool-cache.ts";
import { buf, install, type Tool } from "./tools.ts";

const run = promisify(execFile);

/** Of two hundred crates, on a machine that has other work, in milliseconds. */
const compilePatience = 600_000;

/**
 * Builds a program of ours, of test/interop/rust, in the cache, where cargo keeps what has not changed.
 *
 * @param name of the program, and of the crate whose version is the tool's.
 * @throws Error that names the tool.
 */
export function buildRust(name: string): Promise<Tool> {
  return install(name, async () => {
    const directory = join(toolCache, "rust");
    const source = join(directory, "source");
    await rm(source, { recursive: true, force: true });
    await mkdir(directory, { recursive: true });
    // With their times: cargo goes by those.
    await cp(join(import.meta.dirname, "rust"), source, { recursive: true, preserveTimestamps: true });
    const descriptors = join(directory, "status.binpb");
    await buf("build", "-o", descriptors);
    const target = join(directory, "target");
    await run("cargo", ["build", "--locked", "--quiet", "--bin", name, "--target-dir", target], {
      cwd: source,
      env: { ...process.env, CARGO_HOME: join(directory, "home"), DESCRIPTORS: descriptors },
      timeout: compilePatience,
    });
    const manifest = await readFile(join(source, "Cargo.toml"), "utf8");
    const [, version] = new RegExp(`^${name} = .*"=([^"]+)"`, "m").exec(manifest) ?? [];
    return { title: `${name} ${version}`, path: join(target, "debug", name) };
  });
}
