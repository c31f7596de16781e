import type pg from "pg";
import type { CostsBench, Variant } from "./bench.ts";
import { heapAndIndexes, planPages, type Sizes, updates, vacuumVerbosely, walPosition } from "./counters.ts";

export interface Life extends Variant {
  /** Whether a snapshot is always open, a second old on average: dead row versions stay for as long. */
  readonly snapshot: boolean;
  /** Vacuum runs when this share of the rows is dead. */
  readonly scaleFactor: number;
}

export interface LifeCosts extends Sizes {
  readonly updates: number;
  readonly hot: number;
  readonly walPerJob: number;
  readonly vacuums: number;
  /** Pages that vacuum has read or found in memory, for each job. */
  readonly vacuumPagesPerJob: number;
  readonly vacuumWalPerJob: number;
  /** Pages for a lookup by id. */
  readonly lookupPages: number;
}

const producers = 4;
/** Jobs that are inserted in a tick, which is a second. */
const tickSize = 1_000;
const liveTicks = 40;
const measuredTicks = 30;
/** A snapshot is replaced by a new one after this number of ticks. */
const snapshotTicks = 2;

/**
 * A producer's share of a tick: it inserts a job, begins one of the tick before, and ends one of 3 to 36 ticks ago, in another order than they
 * were inserted in. A fifth fail, are submitted again two ticks later, and succeed. Each step is a transaction. `created_at` follows
 * the simulated clock, which is why the trigger that sets it is off for the step that submits again.
 */
const procedure = `
  create procedure life_tick(tick bigint, producer int) language plpgsql as $$
  declare
    n    constant int := ${tickSize / producers};
    base constant timestamptz := '2026-01-01T00:00:00Z';
    k    int;
    due  bigint;
    lag  int;
    job  bigint;
  begin
    for i in 0 .. n - 1 loop
      job := tick * ${tickSize} + i * ${producers} + producer;
      insert into memory_job (req_id, status, created_at)
      values (md5(job::text)::uuid, 'pending', base + make_interval(secs => tick));
      commit;
      k := (i * 7919::bigint + 13) % n;
      lag := 3 + 3 * (k % 12);
      due := k * ${producers} + producer;
      if tick >= 1 then
        update memory_job set status = 'processing'
        where req_id = md5(((tick - 1) * ${tickSize} + due)::text)::uuid;
        commit;
      end if;
      continue when tick < lag;
      job := (tick - lag) * ${tickSize} + due;
      if i % 5 > 0 then
        update memory_job set status = 'success' where req_id = md5(job::text)::uuid;
        commit;
        continue;
      end if;
      update memory_job set status = 'failure', error = 'Vector database timeout during embedding generation'
      where req_id = md5(job::text)::uuid;
      commit;
      continue when tick < lag + 2;
      job := (tick - lag - 2) * ${tickSize} + due;
      set local session_replication_role = replica;
      update memory_job set status = 'pending', error = null, created_at = base + make_interval(secs => tick), updated_at = now()
      where req_id = md5(job::text)::uuid;
      commit;
      update memory_job set status = 'processing' where req_id = md5(job::text)::uuid;
      commit;
      update memory_job set status = 'success' where req_id = md5(job::text)::uuid;
      commit;
    end loop;
    perform pg_stat_force_next_flush();
  end $$`;

/** Fills a table, and then lets as many jobs again come, change and be purged. */
export async function live(bench: CostsBench, life: Life): Promise<LifeCosts> {
  const schema = "life";
  await bench.create(schema, life);
  const clients = await Promise.all(Array.from({ length: producers }, () => bench.connect(schema)));
  const [admin] = clients as [pg.Client];
  const reader = await bench.connect(schema);
  await admin.query(procedure);
  const vacuum = { vacuums: 0, pages: 0, wal: 0 };
  const start = { wal: 0, updates: 0, hot: 0 };
  const ticks = liveTicks + measuredTicks;
  for (let tick = 0; tick < ticks; tick++) {
    if (tick === liveTicks) {
      await admin.query("vacuum (analyze) memory_job");
      Object.assign(start, { wal: await walPosition(admin), ...(await updates(admin)) });
    }
    if (life.snapshot && tick % snapshotTicks === 0) {
      await reader.query("commit; begin isolation level repeatable read; select from memory_job limit 1");
    }
    await Promise.all(
      clients.map((client, producer) => client.query("call life_tick($1, $2)", [tick, producer])),
    );
    if (tick < liveTicks) continue;
    await admin.query(
      "delete from memory_job where req_id = any(array(select md5(i::text)::uuid from generate_series($1::bigint, $2) i))",
      [(tick - liveTicks) * tickSize, (tick - liveTicks + 1) * tickSize - 1],
    );
    await vacuumWhenDue(admin, life.scaleFactor, vacuum);
  }
  await reader.query("commit");
  const jobs = measuredTicks * tickSize;
  const counted = await updates(admin);
  const result = {
    updates: counted.updates - start.updates,
    hot: counted.hot - start.hot,
    walPerJob: ((await walPosition(admin)) - start.wal) / jobs,
    vacuums: vacuum.vacuums,
    vacuumPagesPerJob: vacuum.pages / jobs,
    vacuumWalPerJob: vacuum.wal / jobs,
    lookupPages: await lookupPages(admin, (ticks - 35) * tickSize),
    ...(await heapAndIndexes(admin)),
  };
  for (const client of [...clients, reader]) await client.end();
  return result;
}

/** As autovacuum decides. */
async function vacuumWhenDue(
  admin: pg.Client,
  scaleFactor: number,
  sum: { vacuums: number; pages: number; wal: number },
): Promise<void> {
  const { rows } = await admin.query<{ dead: number }>(
    "select pg_stat_get_dead_tuples('memory_job'::regclass)::float8 as dead",
  );
  if ((rows[0]?.dead ?? 0) < 50 + scaleFactor * liveTicks * tickSize) return;
  const { pages, wal } = await vacuumVerbosely(admin);
  sum.vacuums++;
  sum.pages += pages;
  sum.wal += wal;
}

async function lookupPages(admin: pg.Client, first: number): Promise<number> {
  const count = 20_000;
  const { rows } = await admin.query(
    `explain (analyze, buffers, format json)
     select (select status from memory_job j where j.req_id = md5(i::text)::uuid) from generate_series(${first}, ${first + count - 1}) i`,
  );
  return planPages(rows[0]?.["QUERY PLAN"]) / count;
}
