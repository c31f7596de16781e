import { join } from "node:path";
import pg from "pg";
import { type EmbeddedPostgres, startEmbedded } from "../../../src/store/embedded/embedded.ts";
import { openMigrator } from "../../../src/store/schema/migrator.ts";
import { thisCheckout } from "../../checkout.ts";

/** Autovacuum is off: vacuum runs where a measurement says so. Durable as in production. */
export const serverSettings = {
  shared_buffers: "2GB",
  autovacuum: "off",
  max_wal_size: "16GB",
  checkpoint_timeout: "30min",
  maintenance_work_mem: "256MB",
};

/** A table memory_job in a schema of its own. */
export interface Variant {
  readonly index: "none" | "btree" | "brin 128" | "brin 32";
  readonly fillfactor: number;
}

/** A server with tables to measure. Disposing of it stops the server. */
export interface CostsBench extends AsyncDisposable {
  readonly version: string;
  /** Connects with the schema as search path. */
  connect(schema: string): Promise<pg.Client>;
  /** Makes an empty table; one of that schema is dropped. */
  create(schema: string, variant: Variant): Promise<void>;
  drop(schema: string): Promise<void>;
  /** Changes a setting of the server that takes no restart. */
  set(name: string, value: string): Promise<void>;
}

export async function openBench(): Promise<CostsBench> {
  await using started = new AsyncDisposableStack();
  const directory = join(thisCheckout.folder, ".data", "bench-costs");
  const postgres = started.use(await startEmbedded({ directory, settings: serverSettings }));
  const admin = started.adopt(new pg.Client(postgres.url), (client) => client.end());
  await admin.connect();
  // An earlier run may have been interrupted.
  await admin.query("alter system reset all");
  await admin.query("select pg_reload_conf()");
  const { rows } = await admin.query<{ server_version: string }>("show server_version");
  const drop = async (schema: string) => {
    await admin.query(`drop schema if exists ${schema} cascade`);
  };
  const running = started.move();
  return {
    version: rows[0]?.server_version ?? "",
    async connect(schema) {
      const client = running.adopt(new pg.Client(urlOf(postgres, schema)), (each) => each.end());
      await client.connect();
      return client;
    },
    drop,
    async create(schema, variant) {
      await drop(schema);
      await admin.query(`create schema ${schema}`);
      await migrateSchema(urlOf(postgres, schema));
      await shape(admin, schema, variant);
    },
    async set(name, value) {
      await admin.query(`alter system set ${name} = ${value}`);
      await admin.query("select pg_reload_conf()");
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function urlOf(postgres: EmbeddedPostgres, schema: string): string {
  // libpq reads no `+` as a space.
  return `${postgres.url}?options=${encodeURIComponent(`-c search_path=${schema} -c synchronous_commit=off`)}`;
}

async function migrateSchema(url: string): Promise<void> {
  await using migrator = openMigrator({
    url,
    size: 1,
    connectTimeout: 10_000,
    onLost: (error) => process.stderr.write(`${error.message}\n`),
    signal: new AbortController().signal,
  });
  await migrator.migrate();
}

const indexes: Record<Variant["index"], string> = {
  none: "",
  btree: "create index memory_job_created_at on memory_job (created_at)",
  "brin 128": "create index memory_job_created_at on memory_job using brin (created_at)",
  "brin 32":
    "create index memory_job_created_at on memory_job using brin (created_at) with (pages_per_range = 32)",
};

/** Replaces the index and the fillfactor of the migrations. */
async function shape(admin: pg.Client, schema: string, { index, fillfactor }: Variant): Promise<void> {
  await admin.query(`
    set search_path = ${schema};
    drop index if exists memory_job_created_at;
    alter table memory_job set (fillfactor = ${fillfactor});
    ${indexes[index]};
    reset search_path`);
}
