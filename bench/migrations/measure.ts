import { setTimeout as pause } from "node:timers/promises";
import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { type Migration, migrations } from "../../src/store/schema/migrations/migrations.ts";
import type { Tables } from "../../src/store/schema/tables.ts";

/** A migration, or a statement to compare with. Times in milliseconds. */
export interface Measured {
  readonly name: string;
  /** The modes of the locks that it took on the table, as PostgreSQL names them. */
  readonly locks: readonly string[];
  readonly took: number;
  /** Of a client that reads, and of one that writes, while it ran. */
  readonly longestRead: number;
  readonly longestWrite: number;
}

/** A step on a connection of its own. @param locks for those that it notes itself: the others are looked up while it runs. */
type Step = (db: Kysely<Tables>, locks: Set<string>) => Promise<unknown>;

const schema = "public";
/** The locks that a process has on the table, or waits for. */
const locksOf = (pid: string) =>
  `select distinct mode from pg_locks where pid = ${pid} and relation = 'memory_job'::regclass`;

/** Between two looks at the locks, in milliseconds. */
const lookInterval = 5;

/** Runs all migrations but the first on a table of this number of rows, and then the statements to compare with. */
export async function measureMigrations(url: string, rows: number): Promise<Measured[]> {
  await using stack = new AsyncDisposableStack();
  const pool = stack.adopt(new pg.Pool({ connectionString: url, max: 8 }), (pool) => pool.end());
  const [first, ...others] = migrations;
  await runIn(pool, (db) => (first as Migration).up(db, schema));
  await fill(pool, rows);

  const measured: Measured[] = [];
  for (const { name, up, transaction = true } of others) {
    const run: Step = (db) => up(db, schema);
    measured.push(await measure(pool, name, transaction ? inTransaction(run) : run));
  }
  const comparisons: readonly (readonly [string, string])[] = [
    ["for comparison: a scan of the table", "select count(*) from memory_job where error = ''"],
    [
      "for comparison: `create index`, which blocks writes",
      "create index comparison on memory_job (created_at)",
    ],
    [
      "for comparison: `create index concurrently`",
      "create index concurrently comparison_too on memory_job (created_at)",
    ],
  ];
  for (const [name, statement] of comparisons) {
    measured.push(await measure(pool, name, (db) => sql.raw(statement).execute(db)));
  }
  return measured;
}

function inTransaction(run: Step): Step {
  return async (db, locks) => {
    await sql`begin; set local search_path = ${sql.id(schema)}`.execute(db);
    await run(db, locks);
    // They are held until the end, and may have been taken just now.
    const { rows } = await sql<{ mode: string }>`${sql.raw(locksOf("pg_backend_pid()"))}`.execute(db);
    for (const { mode } of rows) locks.add(mode);
    await sql`commit`.execute(db);
  };
}

/** Live jobs of a day, in the order of their creation, with random ids. */
async function fill(pool: pg.Pool, rows: number): Promise<void> {
  await pool.query("alter table memory_job drop constraint memory_job_pkey");
  await pool.query(
    `insert into memory_job (req_id, status, created_at)
     select gen_random_uuid(), case when i % 10 = 0 then 'pending' else 'success' end,
            now() - (${rows} - i) * interval '23 hours' / ${rows}
     from generate_series(1, ${rows}) i`,
  );
  await pool.query("alter table memory_job add primary key (req_id)");
  await pool.query("vacuum (analyze) memory_job");
  await pool.query("checkpoint");
}

async function measure(pool: pg.Pool, name: string, step: Step): Promise<Measured> {
  const over = new AbortController();
  const { rows: pending } = await pool.query<{ req_id: string }>(
    "select req_id from memory_job where status = 'pending' limit 100000",
  );
  const next = () => pending.pop()?.req_id;
  const longest = (statement: string, id: () => string | undefined) =>
    longestOf(pool, statement, id, over.signal);
  const [one] = pending;
  const reads = longest("select status from memory_job where req_id = $1", () => one?.req_id);
  const writes = longest("update memory_job set status = 'success' where req_id = $1", next);
  const locks = new Set<string>();
  let took = 0;
  await runIn(pool, async (db, pid) => {
    const looking = look(pool, pid, locks, over.signal);
    const startedAt = performance.now();
    await step(db, locks);
    took = performance.now() - startedAt;
    over.abort();
    await looking;
  });
  return { name, locks: [...locks].sort(), took, longestRead: await reads, longestWrite: await writes };
}

/** Notes the modes of the locks that a process has, or waits for, on the table. */
async function look(pool: pg.Pool, pid: number, locks: Set<string>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { rows } = await pool.query<{ mode: string }>(locksOf("$1"), [pid]);
    for (const { mode } of rows) locks.add(mode);
    await pause(lookInterval);
  }
}

/** Repeats a statement until the signal. @returns the longest time. */
async function longestOf(
  pool: pg.Pool,
  statement: string,
  next: () => string | undefined,
  signal: AbortSignal,
): Promise<number> {
  const client = await pool.connect();
  try {
    let longest = 0;
    for (let id = next(); !signal.aborted && id !== undefined; id = next()) {
      const startedAt = performance.now();
      await client.query({ name: statement.slice(0, 6), text: statement, values: [id] });
      longest = Math.max(longest, performance.now() - startedAt);
    }
    return longest;
  } finally {
    client.release();
  }
}

/** Runs something on one connection. */
async function runIn(
  pool: pg.Pool,
  work: (db: Kysely<Tables>, pid: number) => Promise<unknown>,
): Promise<void> {
  const { connectionString } = pool.options;
  const own = new pg.Pool({ connectionString, max: 1 });
  try {
    const { rows } = await own.query<{ pid: number }>("select pg_backend_pid() as pid");
    await work(new Kysely<Tables>({ dialect: new PostgresDialect({ pool: own }) }), rows[0]?.pid ?? 0);
  } finally {
    await own.end();
  }
}
