import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { installPatience, once, toolCache } from "../support/tool-cache.ts";
import { install, root, type Tool } from "./tools.ts";

const run = promisify(execFile);

const sources = join(import.meta.dirname, "js");

/** A client from npm, and the folder of the client programs and their packages. */
export interface JsTool extends Tool {
  readonly directory: string;
}

/**
 * Installs the packages of test/interop/js into the cache, once for all of them, and copies the client programs and the
 * generated code of the proto there.
 *
 * @param name the package whose version is the tool's.
 * @param program the path, in `node_modules`, of the runtime. Default: this Node.
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
      // The install scripts of Bun and Deno would only copy a program that is already there.
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
