import { accessSync, constants } from "node:fs";
import { DatabaseSync } from "node:sqlite";

const sqliteBusy = 5;
const held = new Set<DatabaseSync>(); // a lock without a reference must not be garbage-collected

/**
 * Takes the lock file, or returns undefined when a living process (or this one) holds it.
 * Node has no flock(2); SQLite, which it brings, locks with fcntl(2): the kernel frees the lock whenever its
 * holder ends, and of two that try at once exactly one gets it. The file stays empty and is never removed.
 * @throws Error when the file cannot be opened for writing
 */
export function tryLock(file: string): Disposable | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file);
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN IMMEDIATE");
    accessSync(file, constants.W_OK); // SQLite begins, without a lock, on a file that it can only read
  } catch (cause) {
    database?.close();
    if ((cause as { errcode?: number }).errcode === sqliteBusy) return undefined;
    throw new Error(
      `cannot lock ${file}; make it writable, or set DATABASE_URL. ${(cause as Error).message}`,
      { cause },
    );
  }
  const lock = database;
  held.add(lock);
  return {
    [Symbol.dispose]() {
      if (held.delete(lock)) lock.close();
    },
  };
}
