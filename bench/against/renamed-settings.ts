import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Renamed settings, by their present names. */
const formerNames: Readonly<Record<string, string>> = { GRPC_FAST_PATH: "GRPC_LANE" };

/** The table of settings in a checkout: its path today, and in older commits. */
const settingsFiles = ["src/config/settings.ts", "src/settings.ts"];

/**
 * Settings in the environment under the names that a checkout knows, so that `GRPC_FAST_PATH=off npm run bench --
 * --against …` turns the fast path off on both sides, although one of them is older than that name.
 *
 * @param folder of the checkout.
 * @returns what differs from `env`. A variable that must not be set is undefined.
 */
export function renameSettings(
  folder: string,
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const settings = readSettings(folder);
  return Object.fromEntries(
    Object.entries(formerNames)
      .filter(([name]) => env[name] !== undefined && !settings.includes(`${name}:`))
      .flatMap(([name, formerName]) => [
        [name, undefined],
        [formerName, env[name]],
      ]),
  );
}

function readSettings(folder: string): string {
  for (const file of settingsFiles) {
    try {
      return readFileSync(join(folder, file), "utf8");
    } catch {
      // An older commit has the table elsewhere.
    }
  }
  throw new Error(`${folder} has none of ${settingsFiles.join(", ")}`);
}
