import { readFile, stat } from "node:fs/promises";
import type { Target, Way } from "../url/target.ts";

/**
 * Looks a password up as libpq does ("The Password File"): the first line that fits counts.
 *
 * @returns undefined when no line fits.
 * @throws Error when others than its owner may read the file; Node's error when it cannot be read.
 */
export async function findPassword(
  path: string,
  { user, database }: Target,
  { host, port }: Way,
): Promise<string | undefined> {
  if (((await stat(path)).mode & 0o077) !== 0) {
    throw new Error(`passfile ${path} may be read by others than its owner: chmod 0600`);
  }
  const wanted = [host, String(port), database, user];
  for (const line of (await readFile(path, "utf8")).split(/\r?\n/)) {
    if (line.startsWith("#")) continue;
    const fields = line.match(
      /^((?:\\.|[^\\:])*):((?:\\.|[^\\:])*):((?:\\.|[^\\:])*):((?:\\.|[^\\:])*):(.*)$/,
    );
    if (fields === null) continue;
    const [password = "", ...given] = [fields[5], ...fields.slice(1, 5)].map((field) =>
      field?.replace(/\\(.)/g, "$1"),
    );
    if (given.every((field, index) => fields[index + 1] === "*" || field === wanted[index])) return password;
  }
  return undefined;
}
