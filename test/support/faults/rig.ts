import { execFile } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { type EmbeddedPostgres, startEmbedded } from "../../../src/store/embedded/embedded.ts";
import { migrate } from "../../../src/store/schema/migrate.ts";
import type { Tables } from "../../../src/store/schema/tables.ts";
import { createAuthority } from "../certificates.ts";
import { offerTls } from "../postgres-tls.ts";
import { type Serving, startServing } from "../process.ts";
import { startProxy, type Proxy as TcpProxy } from "../proxy.ts";
import { documentedJson, insertJob } from "../rows.ts";
import type { Known } from "./callers.ts";

/** A PostgreSQL server. Disposing of it is a fast shutdown. */
export type Server = Pick<EmbeddedPostgres, "url" | "dataDirectory" | "pid"> & AsyncDisposable;

/** A PostgreSQL for faults, the service in a process of its own, and a proxy between the two. */
export interface Rig extends AsyncDisposable {
  readonly service: Serving;
  /** Starts another service on the same database. @param env further environment variables. */
  startService(env: Readonly<Record<string, string>>): Promise<Serving>;
  readonly proxy: TcpProxy;
  readonly known: readonly Known[];
  /** The superuser's URL. It leads around the proxy, to whichever server runs. */
  readonly url: string;
  /** PostgreSQL's, such as "18.4". */
  readonly version: string;
  /** The postmaster's. */
  pid(): number;
  /** Runs a statement as the superuser, without the proxy. */
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(statement: string): Promise<Row[]>;
  /** Opens a session of the superuser, for locks that must be held. */
  session(): Promise<pg.Client>;
  /** The pids of the service's backends, the most recently used first. */
  backends(): Promise<number[]>;
  /** The pids of the postmaster and of its children. */
  processes(): Promise<number[]>;
  /** Ends the server: a fast shutdown. */
  stop(): Promise<void>;
  /** Starts the server anew on the same data, after a fast shutdown unless it has ended already. */
  restart(): Promise<void>;
  /** Makes the lookup of the host name fail, or succeed again. */
  failDns(fail: boolean): Promise<void>;
  /** The value of a metric of the service. */
  metric(name: string): Promise<number>;
}

const settings = {
  fsync: "off",
  full_page_writes: "off",
  autovacuum: "off",
  shared_buffers: "32MB",
};

const host = "database.test";
const password = "of-the-service";

/** The service's REQUEST_TIMEOUT, in milliseconds. */
export const requestTimeout = 1_000;

export interface RigOptions {
  /** Whether the service speaks TLS with its database. */
  readonly tls: boolean;
  /** Whether services are out of reach of the terminal's Ctrl-C. */
  readonly detached?: boolean;
  /** More for the environment of the services. */
  readonly env?: Readonly<Record<string, string>>;
  /** Starts the server, each time on the same data. Absent: the embedded one. */
  readonly start?: StartServer;
}

type StartServer = (directory: string, settings: Readonly<Record<string, string>>) => Promise<Server>;

const startDefault: StartServer = (directory, settings) => startEmbedded({ directory, settings });

export async function startRig({
  tls,
  detached = false,
  env = {},
  start: startServer = startDefault,
}: RigOptions): Promise<Rig> {
  await using started = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "gomemory-status-faults-"));
  started.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 10 }));
  await chmod(directory, 0o755);
  const noDns = join(directory, "no-dns");
  const start = () => startServer(join(directory, "data"), settings);
  let postgres: Server = await start();
  started.defer(() => postgres[Symbol.asyncDispose]());

  async function session(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: postgres.url });
    client.on("error", () => {});
    await client.connect();
    return client;
  }

  async function query<Row extends pg.QueryResultRow>(statement: string): Promise<Row[]> {
    const client = await session();
    try {
      return (await client.query<Row>(statement)).rows;
    } finally {
      await client.end();
    }
  }

  const known = await fill(postgres.url);
  await query(`create role service login password '${password}'; grant pg_read_all_data to service`);
  if (tls) await offerTls(postgres.dataDirectory, await createAuthority("Tests of faults"), host, query);
  await query("checkpoint");

  const proxy = started.use(await startProxy(postgres.url));
  const direct = started.use(await startProxy(postgres.url));
  const url = new URL(proxy.url);
  url.hostname = host;
  url.username = "service";
  url.password = password;
  if (tls) url.searchParams.set("sslmode", "require");
  const preload = new URL("./preload.ts", import.meta.url).href;
  const shared = {
    REQUEST_TIMEOUT: `${requestTimeout}ms`,
    NODE_OPTIONS: `--import ${preload}`,
    FAULTS_HOST: host,
    FAULTS_NO_DNS: noDns,
    ...env,
  };
  const service = started.use(await startServing({ DATABASE_URL: url.href, ...shared }, { detached }));
  const [{ version } = { version: "" }] = await query<{ version: string }>(
    "select current_setting('server_version') as version",
  );

  const running = started.move();
  return {
    service,
    startService: (more) => startServing({ DATABASE_URL: url.href, ...shared, ...more }, { detached }),
    proxy,
    known,
    url: direct.url,
    version,
    pid: () => postgres.pid,
    query,
    session,
    async backends() {
      const rows = await query<{ pid: number }>(
        "select pid from pg_stat_activity where usename = 'service' order by state_change desc nulls last",
      );
      return rows.map(({ pid }) => pid);
    },
    async processes() {
      const { stdout } = await promisify(execFile)("ps", ["-axo", "pid=,ppid="]);
      const children = stdout
        .split("\n")
        .map((line) => line.trim().split(/\s+/).map(Number))
        .filter(([, parent]) => parent === postgres.pid);
      return [postgres.pid, ...children.map(([pid = 0]) => pid)];
    },
    stop: async () => await postgres[Symbol.asyncDispose](),
    async restart() {
      await postgres[Symbol.asyncDispose]();
      postgres = await start();
      for (const each of [proxy, direct]) each.redirect(postgres.url);
    },
    failDns: (fail) => (fail ? writeFile(noDns, "") : rm(noDns)),
    async metric(name) {
      const text = await (await fetch(`${service.url}/metrics`)).text();
      return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function fill(url: string): Promise<Known[]> {
  const pool = new pg.Pool({ connectionString: url });
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  await migrate(db);
  const known: Known[] = [];
  for (let n = 0; n < 3; n++) {
    for (const status of ["pending", "processing", "success", "failure"] as const) {
      const error = status === "failure" ? `it broke, the ${n}. time` : null;
      const reqId = await insertJob(db, { status, error, age: known.length * 60 });
      known.push({ reqId, json: await documentedJson(db, reqId) });
    }
  }
  await db.destroy();
  return known;
}
