import { totalmem } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { startEmbedded } from "../../src/store/embedded/embedded.ts";
import { thisCheckout } from "../checkout.ts";
import { runToEnd } from "../children.ts";

/** A PostgreSQL whose settings are those of production, as far as they matter here. Disposing of it stops the server. */
export interface RetentionDatabase extends AsyncDisposable {
  readonly pid: number;
  readonly version: string;
  /** Makes a database with an empty memory_job. Disposing of it drops the database. */
  create(name: string): Promise<EmptyTable>;
}

export interface EmptyTable extends AsyncDisposable {
  readonly url: string;
  /** Connected to its database. */
  readonly admin: pg.Client;
}

/** The table of 10,000,000 rows and its indexes must fit into memory, as in production. */
const sharedBuffers = Math.min(3072, Math.floor(totalmem() / 4 / 2 ** 20));

/** Everything else is PostgreSQL's default: fsync, full_page_writes and synchronous_commit are on. */
export const databaseSettings = {
  shared_buffers: `${sharedBuffers}MB`,
  // A checkpoint writes the whole table, whose pages all change: more often than every few minutes is unusual.
  max_wal_size: "8GB",
  checkpoint_timeout: "15min",
  autovacuum_naptime: "1s",
  shared_preload_libraries: "pg_stat_statements",
};

const directory = join(thisCheckout.folder, ".data", "bench-retention");

export async function startDatabase(): Promise<RetentionDatabase> {
  await using started = new AsyncDisposableStack();
  const postgres = started.use(await startEmbedded({ directory, settings: databaseSettings }));
  const server = started.adopt(new pg.Client(postgres.url), (client) => client.end());
  await server.connect();
  const { rows } = await server.query<{ server_version: string }>("show server_version");
  const running = started.move();

  return {
    pid: postgres.pid,
    version: rows[0]?.server_version ?? "",
    async create(name) {
      await using made = new AsyncDisposableStack();
      const drop = () => server.query(`drop database if exists ${name} with (force)`);
      // What an interrupted run left behind.
      await drop();
      await server.query(`create database ${name}`);
      made.defer(async () => {
        await drop();
        // Its pages need not be written, and the log of its changes is given back to the disk.
        await server.query("checkpoint");
      });
      const url = Object.assign(new URL(postgres.url), { pathname: name }).href;
      const [program, ...args] = thisCheckout.migrate;
      await runToEnd([program, ...args], {
        cwd: thisCheckout.folder,
        env: { ...process.env, DATABASE_URL: url },
      });
      const admin = made.adopt(new pg.Client(url), (client) => client.end());
      await admin.connect();
      await admin.query("create extension pg_stat_statements");
      const kept = made.move();
      return { url, admin, [Symbol.asyncDispose]: () => kept.disposeAsync() };
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
