import pg from "pg";
import { createDatabase, type TestDatabase } from "./database.ts";
import { startProxy, type Proxy as TestProxy } from "./proxy.ts";

/** A database whose table is partitioned over several servers, each of which a test can cut off. */
export interface Shards extends AsyncDisposable {
  /** The URL that the service connects to. */
  readonly url: string;
  readonly servers: readonly TestProxy[];
  /** Inserts jobs with status `success`. @returns their request ids, by server. */
  insertJobs(count: number): Promise<string[][]>;
}

/**
 * Hash partitions over postgres_fdw, which fail as a distributed engine does: the failure of one server has severity ERROR
 * and does not end the session.
 */
export async function startShards(count: number): Promise<Shards> {
  await using started = new AsyncDisposableStack();
  const coordinator = started.use(await createDatabase({ migrated: false }));
  const databases: TestDatabase[] = [];
  const servers: TestProxy[] = [];
  await coordinator.pool.query(`
    create extension postgres_fdw;
    create table memory_job (req_id uuid not null, status text not null, error text, created_at timestamptz(0) not null,
      updated_at timestamptz not null default now()) partition by hash (req_id)`);
  for (let n = 0; n < count; n++) {
    const database = started.use(await createDatabase());
    const server = started.use(await startProxy(database.url));
    const { port, username, password, pathname } = new URL(server.url);
    await coordinator.pool.query(`
      create server shard_${n} foreign data wrapper postgres_fdw
        options (host '127.0.0.1', port '${port}', dbname '${pathname.slice(1)}');
      create user mapping for ${username} server shard_${n}
        options (user '${username}', password '${decodeURIComponent(password)}');
      create foreign table memory_job_${n} partition of memory_job for values with (modulus ${count}, remainder ${n})
        server shard_${n} options (table_name 'memory_job')`);
    databases.push(database);
    servers.push(server);
  }
  const running = started.move();
  return {
    url: coordinator.url,
    servers,
    async insertJobs(jobs) {
      const client = new pg.Client({ connectionString: coordinator.url });
      await client.connect();
      await client.query(
        `insert into memory_job (req_id, status, created_at)
         select gen_random_uuid(), 'success', date_trunc('second', now()) from generate_series(1, $1)`,
        [jobs],
      );
      const { rows } = await client.query<{ shard: string; ids: string[] }>(
        "select tableoid::regclass::text as shard, array_agg(req_id::text) as ids from memory_job group by 1 order by 1",
      );
      await client.end();
      return rows.map(({ ids }) => ids);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
