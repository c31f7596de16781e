import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, lstat, mkdir, readlink, rm, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Account } from "./process.ts";

const run = promisify(execFile);

/** Where a cluster lives and who runs it. */
export interface Place {
  /** Holds the lock and the folder `postgres`. */
  readonly folder: string;
  /** The user that PostgreSQL runs as; undefined for the user of this process. */
  readonly account: Account | undefined;
}

/**
 * Chooses where the cluster for `directory` lives: there, unless this is root. PostgreSQL refuses to run as
 * root, and when the user that stands in cannot get there, the cluster lives in a shelter.
 * An existing cluster keeps its user: root may run what an ordinary user made; the other way round is an error.
 */
export async function choosePlace(directory: string): Promise<Place> {
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
  const account = await standIn();
  if (!found && (await canPass(account, directory))) return { folder: directory, account };
  const folder = await shelterFor(directory);
  const sheltered = join(folder, "postgres");
  const made = await lstat(sheltered).catch(() => undefined);
  return { folder, account: made ? ownerOf(sheltered, made) : account };
}

/** Leaves a link `directory/postgres` when the cluster is elsewhere, for people who look for it. */
export async function leaveHint(directory: string, place: Place): Promise<void> {
  if (place.folder === directory) return;
  const hint = join(directory, "postgres");
  const target = join(place.folder, "postgres");
  if ((await readlink(hint).catch(() => undefined)) === target) return;
  await rm(hint, { force: true });
  await symlink(target, hint);
}

/** A folder of root's that every user can reach, one for each `directory`; made when missing. */
export async function shelterFor(directory: string): Promise<string> {
  const name = createHash("sha256").update(directory).digest("hex").slice(0, 16);
  const folder = `/var/tmp/gomemory-${name}`;
  await mkdir(folder, { mode: 0o711 }).catch((error) => {
    if (error.code !== "EEXIST") throw error;
  });
  // Anyone may make folders in /var/tmp. One of root's that nobody else can write to is our own.
  const found = await lstat(folder);
  if (!found.isDirectory() || found.uid !== 0 || found.mode & 0o022) {
    throw new Error(`${folder} is not a folder that only root can write to: remove it, or set DATABASE_URL`);
  }
  await chmod(folder, 0o711); // whatever the umask
  return folder;
}

/** The user that stands in for root. */
async function standIn(): Promise<Account> {
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

/** Whether an account can reach what is in root's `directory`, which is opened for passing when that suffices. */
async function canPass(account: Account, directory: string): Promise<boolean> {
  if (await canEnter(account, directory)) return true;
  const { uid, mode } = await stat(directory);
  if (uid !== 0) return false;
  await chmod(directory, (mode & 0o7777) | 0o011); // after a strict umask or mkdtemp; what lies in it guards itself
  if (await canEnter(account, directory)) return true;
  await chmod(directory, mode & 0o7777);
  return false;
}

/** Whether an account can enter a folder. Mode bits do not tell: access lists and mounts have a say, too. */
async function canEnter(account: Account, folder: string): Promise<boolean> {
  const entered = run("/bin/sh", ["-c", 'cd "$1"', "sh", folder], { cwd: "/", ...account });
  return await entered.then(
    () => true,
    () => false,
  );
}
