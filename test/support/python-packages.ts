import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { installPatience, once, toolCache } from "./tool-cache.ts";

const run = promisify(execFile);

/**
 * Makes a Python virtual environment in the cache.
 *
 * @param requirements pip's, pinned.
 * @returns the environment's folder. Its programs are in `bin`.
 * @throws what Python and pip say.
 */
export async function makeVirtualEnvironment(requirements: readonly string[]): Promise<string> {
  const directory = join(toolCache, requirements.join("+"));
  await once(directory, async () => {
    await run("python3", ["-m", "venv", directory], { timeout: installPatience });
    const install = ["-m", "pip", "install", "--quiet", ...requirements];
    await run(join(directory, "bin", "python"), install, { timeout: installPatience });
  });
  return directory;
}
