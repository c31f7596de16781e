import { totalmem } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { type EmbeddedPostgres, startEmbedded } from "../src/store/embedded/embedded.ts";
import { type Checkout, thisCheckout } from "./checkout.ts";
import { runToEnd } from "./children.ts";
import { idOf, insertRows } from "./rows.ts";

/** A PostgreSQL of the benchmark's own, kept between runs. Disposing of it stops the server. */
export interface BenchDatabase extends AsyncDisposable {
  /** The postmaster's. */
  readonly pid: number;
  readonly version: string;
  /** Creates a database with this number of live rows, unless an earlier run has left one. */
  provide(rows: number): Promise<Table>;
  /** Creates such a database with the schema of a checkout. Disposing of it drops the database. */
  provideFor(checkout: Checkout, name: string, rows: number): Promise<Table & AsyncDisposable>;
  /** The number of statements on memory_job since the server started. */
  statements(): Promise<number>;
}

/** A filled memory_job in a database of its own. */
export interface Table {
  readonly url: string;
  readonly rows: number;
  /** When row 0 was created, in Unix seconds. */
  readonly base: number;
  /** The id of a row that is older than 24 hours. */
  readonly expiredId: string;
}

const directory = join(thisCheckout.folder, ".data", "bench");

/** Rows of an earlier run that are older, in seconds, are replaced: none may expire (24 hours) during a run. */
const oldestBase = 12 * 3600;

/** 10,000,000 rows and their index take 1.4 GB. All of them must fit into memory, as in production. */
const sharedBuffers = Math.min(2048, Math.floor(totalmem() / 4 / 2 ** 20));

/** PostgreSQL's defaults but for these. Durability costs nothing here, since nothing is written during a measurement. */
export const databaseSettings = {
  shared_buffers: `${sharedBuffers}MB`,
  shared_preload_libraries: "pg_stat_statements",
  autovacuum: "off",
  fsync: "off",
  synchronous_commit: "off",
  full_page_writes: "off",
  max_wal_size: "8GB",
};

export async function startDatabase(): Promise<BenchDatabase> {
  await using started = new AsyncDisposableStack();
  const postgres = started.use(await startEmbedded({ directory, settings: databaseSettings }));
  const admin = started.adopt(new pg.Client(postgres.url), (client) => client.end());
  await admin.connect();
  await admin.query("create extension if not exists pg_stat_statements");
  const { rows } = await admin.query<{ server_version: string }>("show server_version");
  const running = started.move();

  return {
    pid: postgres.pid,
    version: rows[0]?.server_version ?? "",
    provide: (count) => provide(postgres, admin, count),
    provideFor: (checkout, name, count) => provideFor(postgres, admin, checkout, name, count),
    async statements() {
      const { rows } = await admin.query<{ calls: number }>(
        "select coalesce(sum(calls), 0)::float8 as calls from pg_stat_statements where query like '%memory_job%'",
      );
      return rows[0]?.calls ?? 0;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function provide(postgres: EmbeddedPostgres, admin: pg.Client, rows: number): Promise<Table> {
  const name = `rows_${rows}`;
  const { rowCount } = await admin.query("select from pg_database where datname = $1", [name]);
  if (rowCount === 0) await admin.query(`create database ${name}`);
  return await prepare(postgres, thisCheckout, name, rows);
}

async function provideFor(
  postgres: EmbeddedPostgres,
  admin: pg.Client,
  checkout: Checkout,
  name: string,
  rows: number,
): Promise<Table & AsyncDisposable> {
  const drop = async () => {
    await admin.query(`drop database if exists ${name} with (force)`);
  };
  // A database that an interrupted run left behind may have a schema that this checkout does not know.
  await drop();
  await admin.query(`create database ${name}`);
  return { ...(await prepare(postgres, checkout, name, rows)), [Symbol.asyncDispose]: drop };
}

/** Migrates a database, inserts the rows unless they are there, and reads them into memory. */
async function prepare(
  postgres: EmbeddedPostgres,
  checkout: Checkout,
  name: string,
  rows: number,
): Promise<Table> {
  const url = Object.assign(new URL(postgres.url), { pathname: name }).href;
  const [program, ...args] = checkout.migrate;
  await runToEnd([program, ...args], {
    cwd: checkout.folder,
    env: { ...process.env, DATABASE_URL: url },
  });

  const client = new pg.Client(url);
  await client.connect();
  try {
    const base = (await currentBase(client)) ?? (await fill(client, rows));
    await client.query("create extension if not exists pg_prewarm");
    await client.query("select pg_prewarm('memory_job'), pg_prewarm('memory_job_pkey')");
    return { url, rows, base, expiredId: idOf(rows) };
  } finally {
    await client.end();
  }
}

/** @returns undefined when rows are missing, or too old. */
async function currentBase(client: pg.Client): Promise<number | undefined> {
  await client.query("create table if not exists bench (base bigint not null)");
  const { rows } = await client.query<{ base: number }>(
    "select base::float8 from bench where base > extract(epoch from now()) - $1",
    [oldestBase],
  );
  return rows[0]?.base;
}

async function fill(client: pg.Client, rows: number): Promise<number> {
  const base = Math.floor(Date.now() / 1000);
  await client.query("truncate memory_job, bench");
  await client.query("set maintenance_work_mem = '512MB'");
  // Building the index afterwards takes a fraction of the time. It only comes out more densely packed.
  await client.query("alter table memory_job drop constraint memory_job_pkey");
  await client.query(insertRows(rows, base));
  await client.query(
    "insert into memory_job (req_id, status, created_at) values ($1, 'success', now() - interval '25 hours')",
    [idOf(rows)],
  );
  await client.query("alter table memory_job add primary key (req_id)");
  await client.query("vacuum (analyze, freeze) memory_job");
  await client.query("checkpoint");
  await client.query("insert into bench values ($1)", [base]);
  return base;
}
