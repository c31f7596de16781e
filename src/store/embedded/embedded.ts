import { once } from "node:events";
import { mkdir, realpath } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Binaries, findBinaries, programPath, reachableBinaries } from "./binaries.ts";
import { dataDirectoryOf, openCluster } from "./cluster.ts";
import { type Location, linkToCluster, locateDataDirectory } from "./data-directory.ts";
import { tryLock } from "./lock.ts";
import { ownerSetting, recordedPid, serverOwner, stopOrphan } from "./orphan.ts";
import { startTethered, type Tethered, untilEnded } from "./tethered-program.ts";

/** A PostgreSQL server that belongs to this process. Disposing of it stops the server; its data stays. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** postgres:// URL of the database `postgres`, password included. */
  readonly url: string;
  /** On 127.0.0.1; another one at each start. */
  readonly port: number;
  /** Where the cluster really is. */
  readonly dataDirectory: string;
  /** Of the postmaster. */
  readonly pid: number;
  /** Settles when the server has ended, for whatever reason. */
  readonly exited: Promise<void>;
}

export interface EmbeddedOptions {
  /** Such as `<clone>/.data`; made when missing. */
  readonly directory: string;
  /** Settings of the server, such as `{ fsync: "off" }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Called for each line of the server's log. */
  readonly log?: (line: string) => void;
  /** Cancels the start; nothing is left running. */
  readonly signal?: AbortSignal;
}

// All of these are temporary: another program took the port, or the server of a killed process has not quite ended.
const temporary = /Address already in use|lock file ".*" already exists|pre-existing shared memory block/;
const startAttempts = 50;
const startPauseMs = 100;

/**
 * Starts a PostgreSQL server for `directory`, whose first start makes the cluster and a password, in
 * `directory/postgres` (as root that may be a link to where the server's user can reach it). The server ends
 * with this process, however that ends; the orphan of a killed process is stopped first.
 * @throws Error that says what to do: a living process uses the directory, the cluster is of another major
 * version or another user's, there are no binaries for this machine, the server does not come up (with its
 * last lines); the signal's reason
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const { signal, settings } = options;
  signal?.throwIfAborted();
  const installed = await findBinaries();
  const directory = await makeDirectory(options.directory);
  const location = await locateDataDirectory(directory);

  await using started = new AsyncDisposableStack();
  started.use(tryLock(join(location.folder, "lock")) ?? (await refuse(directory, location)));
  await stopOrphan(dataDirectoryOf(location), signal);
  if (await serverOwner(dataDirectoryOf(location))) await refuse(directory, location);
  await linkToCluster(directory, location);
  const binaries = await reachableBinaries(installed, directory, location);
  const noSync = settings?.fsync === "off";
  const { dataDirectory, password } = await openCluster(binaries, location, { noSync, signal });
  const { server, port } = await startServer(binaries, location, dataDirectory, options);
  started.defer(() => server.stop());
  server.unref();

  const running = started.move();
  let stopped: Promise<void> | undefined;
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    port,
    dataDirectory,
    pid: server.pid,
    exited: server.ended,
    [Symbol.asyncDispose]: () => (stopped ??= running.disposeAsync()),
  };
}

async function makeDirectory(directory: string): Promise<string> {
  try {
    await mkdir(directory, { recursive: true });
    return await realpath(directory);
  } catch (cause) {
    const { message } = cause as Error;
    throw new Error(`cannot make ${directory}; make room for it, or set DATABASE_URL. ${message}`, { cause });
  }
}

async function refuse(directory: string, location: Location): Promise<never> {
  const owner = await serverOwner(dataDirectoryOf(location));
  const who = owner ? `the process with pid ${owner}` : "a process that is just starting or stopping";
  throw new Error(`the PostgreSQL in ${directory} is used by ${who}: stop that, or set DATABASE_URL`);
}

async function startServer(
  binaries: Binaries,
  { account }: Location,
  dataDirectory: string,
  options: EmbeddedOptions,
): Promise<{ server: Tethered; port: number }> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const stale = await recordedPid(dataDirectory);
    const settings = {
      ...options.settings,
      listen_addresses: "127.0.0.1",
      port,
      unix_socket_directories: "",
      // Its log tells when the server is ready.
      log_destination: "stderr",
      logging_collector: "off",
      lc_messages: "C",
      [ownerSetting]: process.pid,
    };
    const ready = Promise.withResolvers<void>();
    const server = await startTethered(
      [
        programPath(binaries, "postgres"),
        ...["-D", dataDirectory],
        ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      {
        account,
        // A stale lock file may name an innocent process by now, for which PostgreSQL would refuse to start. It
        // disregards the pid of its "grandparent"; its check of the shared memory still guards the data.
        env: stale ? { PG_GRANDPARENT_PID: `${stale}` } : {},
        onLine(line) {
          if (line.includes("database system is ready to accept connections")) ready.resolve();
          options.log?.(line);
        },
      },
    );
    await untilEnded(server, options.signal, ready.promise);
    if (server.status === undefined) return { server, port };
    if (!temporary.test(server.describeEnd()) || attempt === startAttempts) {
      throw new Error(
        `PostgreSQL does not start on ${dataDirectory}; mend that, or set DATABASE_URL: ${server.describeEnd()}`,
      );
    }
    await pause(startPauseMs);
  }
}

/** @returns a port of 127.0.0.1 that is free just now. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}
