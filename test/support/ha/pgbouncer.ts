import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import type { Tethered } from "../../../src/store/embedded/tethered-program.ts";
import { until } from "../until.ts";
import { stablePort } from "./ports.ts";
import type { Programs } from "./programs.ts";

/** A pgbouncer in front of a PostgreSQL. Disposing of it stops it. */
export interface Pgbouncer extends AsyncDisposable {
  /** The database's URL through pgbouncer. */
  readonly url: string;
  /** Runs a command at pgbouncer's console, such as `RECONNECT`. */
  command(text: string): Promise<void>;
  /** Kills pgbouncer with SIGKILL, and starts it again on the same port. */
  restart(): Promise<void>;
}

/**
 * Transaction mode, with fewer server connections than there are clients, which have to share them. They are used in turn,
 * so that a client's transactions are in different sessions.
 */
const defaults = { pool_mode: "transaction", default_pool_size: "3", server_round_robin: "1" };

/** @param settings of pgbouncer.ini. */
export async function startPgbouncer(
  programs: Programs,
  databaseUrl: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<Pgbouncer> {
  const target = new URL(databaseUrl);
  const port = await stablePort();
  const file = join(programs.directory, `pgbouncer-${port}.ini`);
  const users = join(programs.directory, `pgbouncer-${port}-users.txt`);
  const chosen = Object.entries({ ...defaults, ...settings }).map(([name, value]) => `${name} = ${value}\n`);
  await writeFile(users, `"${target.username}" "${target.password}"\n`);
  await writeFile(
    file,
    `[databases]
* = host=${target.hostname} port=${target.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${users}
admin_users = ${target.username}
server_login_retry = 0.1
${chosen.join("")}`,
  );
  const url = new URL(databaseUrl);
  url.port = String(port);
  const console = new URL(url);
  console.pathname = "pgbouncer";
  let program: Tethered;

  async function command(text: string): Promise<void> {
    const client = new pg.Client({ connectionString: console.href });
    await client.connect();
    try {
      await client.query(text);
    } finally {
      await client.end();
    }
  }

  async function start(): Promise<void> {
    program = await programs.start("usr/sbin/pgbouncer", file);
    const answers = () => {
      if (program.status !== undefined) throw new Error(`pgbouncer does not run: ${program.describeEnd()}`);
      return command("SHOW VERSION").then(
        () => true,
        () => false,
      );
    };
    await until("pgbouncer answers", answers, 10_000);
  }

  await start();
  return {
    url: url.href,
    command,
    async restart() {
      process.kill(program.pid, "SIGKILL");
      await program.ended;
      await start();
    },
    [Symbol.asyncDispose]: () => program.stop(),
  };
}
