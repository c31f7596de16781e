import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { installPatience, once, toolCache } from "../support/tool-cache.ts";
import { install, root, type Tool } from "./tools.ts";

const run = promisify(execFile);

const sources = join(import.meta.dirname, "js");

/** A client from npm, and the folder that has our programs for it beside its packages. */
export interface JsTool extends Tool {
  readonly directory: string;
}

/**
 * Installs the packages of test/interop/js, once for all of them, into the cache, and copies our programs and the code of
 * our proto there.
 *
 * @param name of the package whose version is the tool's.
 * @param program that runs ours, its path in `node_modules`. This Node by default.
 * @throws Error that names the tool.
 */
export async function installJs(name: string, program?: string): Promise<JsTool> {
  let directory = "";
  const tool = await install(name, async () => {
    const lock = await readFile(join(sources, "package-lock.json"));
    directory = join(toolCache, `js-${createHash("sha256").update(lock).digest("hex").slice(0, 16)}`);
    await once(directory, async () => {
      for (const file of ["package.json", "package-lock.json"])
        await cp(join(sources, file), join(directory, file));
      // What Bun and Deno would do in their scripts is to put a program elsewhere that is there already.
      const options = ["--ignore-scripts", "--no-audit", "--no-fund"];
      await run("npm", ["ci", ...options], { cwd: directory, timeout: installPatience });
    });
    await cp(sources, directory, { recursive: true });
    await cp(join(root, "src", "gen"), join(directory, "gen"), { recursive: true });
    const packages = join(directory, "node_modules");
    const { version } = JSON.parse(await readFile(join(packages, name, "package.json"), "utf8"));
    return {
      title: `${name} ${version}`,
      path: program === undefined ? process.execPath : join(packages, program),
    };
  });
  return { ...tool, directory };
}
