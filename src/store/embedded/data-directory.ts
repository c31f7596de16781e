import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, lstat, mkdir, readlink, rm, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Account } from "./tethered-program.ts";

const run = promisify(execFile);

/** Where a cluster is and which user runs it. */
export interface Location {
  /** Holds the lock and the folder `postgres`. */
  readonly folder: string;
  /** The user that PostgreSQL runs as; undefined for the user of this process. */
  readonly account: Account | undefined;
}

/**
 * Finds where the cluster of `directory` is or will be: there, unless this process is root's. PostgreSQL refuses to run as
 * root, and when the user that runs it instead cannot reach `directory`, the cluster is in a fallback folder.
 * An existing cluster keeps its user: root may run what an ordinary user made; the other way round is an error.
 */
export async function locateDataDirectory(directory: string): Promise<Location> {
  const home = join(directory, "postgres");
  const found = await lstat(home).catch(() => undefined);
  const uid = process.getuid?.();
  if (uid !== 0) {
    if (!found || found.uid === uid) return { folder: directory, account: undefined };
    throw new Error(
      `${home} belongs to the user with id ${found.uid} and this process to ${uid}: ` +
        `start it as root, remove ${home}, or set DATABASE_URL`,
    );
  }
  if (found?.isDirectory()) {
    const account = ownerOf(home, found);
    if (await canEnter(account, home)) return { folder: directory, account };
    throw new Error(
      `${home} belongs to the user with id ${account.uid}, who cannot reach it: ` +
        `open the folders above it, remove it, or set DATABASE_URL`,
    );
  }
  const account = await accountForRoot();
  if (!found && (await canPass(account, directory))) return { folder: directory, account };
  const folder = await fallbackFolderOf(directory);
  const fallback = join(folder, "postgres");
  const made = await lstat(fallback).catch(() => undefined);
  return { folder, account: made ? ownerOf(fallback, made) : account };
}

/** Makes a link `directory/postgres` when the cluster is elsewhere, for people who search for it. */
export async function linkToCluster(directory: string, location: Location): Promise<void> {
  if (location.folder === directory) return;
  const hint = join(directory, "postgres");
  const target = join(location.folder, "postgres");
  if ((await readlink(hint).catch(() => undefined)) === target) return;
  await rm(hint, { force: true });
  await symlink(target, hint);
}

/** @returns a folder of root's that every user can reach, one for each `directory`; made when missing. */
export async function fallbackFolderOf(directory: string): Promise<string> {
  const name = createHash("sha256").update(directory).digest("hex").slice(0, 16);
  const folder = `/var/tmp/gomemory-${name}`;
  await mkdir(folder, { mode: 0o711 }).catch((error) => {
    if (error.code !== "EEXIST") throw error;
  });
  // Every user may make folders in /var/tmp. Only one of root's that no other user can write to is trustworthy.
  const found = await lstat(folder);
  if (!found.isDirectory() || found.uid !== 0 || found.mode & 0o022) {
    throw new Error(`${folder} is not a folder that only root can write to: remove it, or set DATABASE_URL`);
  }
  await chmod(folder, 0o711); // whatever the umask
  return folder;
}

/** @returns the user that runs PostgreSQL instead of root. */
async function accountForRoot(): Promise<Account> {
  for (const name of ["postgres", "nobody"]) {
    const ids = ["-u", "-g"].map(async (option) => Number((await run("id", [option, name])).stdout));
    const [uid, gid] = await Promise.all(ids).catch(() => []);
    if (uid && gid) return { uid, gid };
  }
  throw new Error(
    "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it: " +
      "start as an ordinary user, or set DATABASE_URL",
  );
}

function ownerOf(path: string, { uid, gid }: Account): Account {
  if (uid !== 0) return { uid, gid };
  throw new Error(
    `${path} belongs to root, and PostgreSQL does not run as root: ` +
      `give it to the user who made it, remove it, or set DATABASE_URL`,
  );
}

/** Whether an account can reach what is in root's `directory`, which is given the mode bit x when that suffices. */
async function canPass(account: Account, directory: string): Promise<boolean> {
  if (await canEnter(account, directory)) return true;
  const { uid, mode } = await stat(directory);
  if (uid !== 0) return false;
  await chmod(directory, (mode & 0o7777) | 0o011); // after a strict umask or mkdtemp; the files in it have modes of their own
  if (await canEnter(account, directory)) return true;
  await chmod(directory, mode & 0o7777);
  return false;
}

/** Whether an account can enter a folder. Mode bits do not tell: access lists and mounts count, too. */
async function canEnter(account: Account, folder: string): Promise<boolean> {
  const entered = run("/bin/sh", ["-c", 'cd "$1"', "sh", folder], { cwd: "/", ...account });
  return await entered.then(
    () => true,
    () => false,
  );
}
