import { randomBytes } from "node:crypto";
import { chown, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Binaries, programPath } from "./binaries.ts";
import type { Location } from "./data-directory.ts";
import { startTethered, untilEnded } from "./tethered-program.ts";

/** A data directory and the password of its user `postgres`. */
export interface Cluster {
  readonly dataDirectory: string;
  readonly password: string;
}

export interface ClusterOptions {
  /** Skips the waits for the disk. */
  readonly noSync: boolean;
  readonly signal: AbortSignal | undefined;
}

const draftPrefix = "postgres.new-";

/** Where the data directory is or will be. */
export function dataDirectoryOf(location: Location): string {
  return join(location.folder, "postgres", "cluster");
}

/**
 * Opens the cluster at a location; makes it when there is none. Call it with the lock held.
 * @throws Error when it is of another major version than the binaries, or initdb fails; the signal's reason
 */
export async function openCluster(
  binaries: Binaries,
  location: Location,
  options: ClusterOptions,
): Promise<Cluster> {
  const home = join(location.folder, "postgres");
  await removeDrafts(location.folder);
  const names = await readdir(location.folder);
  if (!names.includes("postgres")) await makeHome(home, binaries, location, options);

  const dataDirectory = dataDirectoryOf(location);
  const read = (path: string) => readFile(path, "utf8").then((text) => text.trim());
  const [version, password] = await Promise.all([
    read(join(dataDirectory, "PG_VERSION")),
    read(join(home, "password")),
  ]).catch((cause) => {
    throw new Error(`${home} is damaged; remove it to start anew, or set DATABASE_URL. ${cause.message}`, {
      cause,
    });
  });
  if (version === binaries.version.split(".")[0]) return { dataDirectory, password };
  throw new Error(
    `${dataDirectory} is of PostgreSQL ${version}, and the installed PostgreSQL is ${binaries.version}: ` +
      `remove ${home} to start anew, or set DATABASE_URL`,
  );
}

/** Makes the cluster and its password under a temporary name, so that there are both or neither. */
async function makeHome(
  home: string,
  binaries: Binaries,
  { folder, account }: Location,
  { noSync, signal }: ClusterOptions,
): Promise<void> {
  const draft = await mkdtemp(join(folder, draftPrefix));
  try {
    const passwordFile = join(draft, "password");
    await writeFile(passwordFile, `${randomBytes(24).toString("hex")}\n`, { mode: 0o600 });
    if (account) for (const path of [draft, passwordFile]) await chown(path, account.uid, account.gid);
    const initdb = await startTethered(
      [
        programPath(binaries, "initdb"),
        `--pgdata=${join(draft, "cluster")}`,
        "--username=postgres",
        `--pwfile=${passwordFile}`,
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        ...(noSync ? ["--no-sync"] : []),
      ],
      { account },
    );
    await untilEnded(initdb, signal);
    if (initdb.status !== 0) {
      throw new Error(`initdb failed in ${folder}; mend that, or set DATABASE_URL: ${initdb.describeEnd()}`);
    }
    await rename(draft, home);
  } catch (error) {
    await removeDrafts(folder);
    throw error;
  }
}

async function removeDrafts(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(draftPrefix)) continue;
    // An initdb whose parent was just killed may still write for a moment.
    await rm(join(folder, name), { recursive: true, force: true, maxRetries: 10 });
  }
}
