import { chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { locateDataDirectory } from "../../../src/store/embedded/data-directory.ts";
import { startTethered, type Tethered } from "../../../src/store/embedded/tethered-program.ts";
import { type Unpacked, unpackDebian } from "../debian.ts";

/** HA_SKIP=1 skips the tests on a machine that cannot get the packages. */
export const skipped = process.env.HA_SKIP === "1";

const packages = ["patroni", "python3-etcd", "etcd-server", "haproxy", "pgbouncer", "postgresql-15"] as const;

/** The programs of a PostgreSQL deployment, and a folder for their files. Disposing of it removes the folder. */
export interface Programs extends AsyncDisposable {
  /** The folder. It belongs to the user that runs the programs. */
  readonly directory: string;
  /** The folder of PostgreSQL's programs. */
  readonly postgresPath: string;
  version(name: (typeof packages)[number]): string;
  /** Runs a program, by its path from `/`, as an unprivileged user (PostgreSQL refuses root). It ends with this process. */
  start(program: string, ...args: string[]): Promise<Tethered>;
  /** Runs a Python program on the unpacked Python: the machine's may have other modules, or be missing. */
  startPython(program: string, ...args: string[]): Promise<Tethered>;
}

/** @throws Error that names the packages. */
export async function installPrograms(): Promise<Programs> {
  const unpacked = await unpack();
  const directory = await mkdtemp(join(tmpdir(), "gomemory-status-ha-"));
  const { account } = await locateDataDirectory(directory);
  if (account !== undefined) await chown(directory, account.uid, account.gid);
  const env = {
    ...unpacked.env,
    PYTHONDONTWRITEBYTECODE: "1",
    PATH: [process.env.PATH, "/usr/sbin", "/sbin"].join(delimiter),
    LC_ALL: "C",
  };
  const start = (program: string, ...args: string[]) =>
    startTethered([join(unpacked.directory, program), ...args], { account, env });
  return {
    directory,
    postgresPath: join(unpacked.directory, "usr/lib/postgresql/15/bin"),
    version: unpacked.version,
    start,
    startPython: (program, ...args) => start("usr/bin/python3", join(unpacked.directory, program), ...args),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true, maxRetries: 10 }),
  };
}

async function unpack(): Promise<Unpacked> {
  try {
    return await unpackDebian(...packages);
  } catch (cause) {
    const { stderr, message } = cause as Error & { stderr?: string };
    const names = packages.join(", ");
    throw new Error(
      `cannot unpack the Debian packages ${names} (HA_SKIP=1 does without): ${stderr?.trim() || message}`,
      { cause },
    );
  }
}
