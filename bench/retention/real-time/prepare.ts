import type { Table } from "../../database.ts";
import { idOf, insertRows } from "../../rows.ts";
import type { EmptyTable } from "../database.ts";
import { keptHours, realTime } from "../plan.ts";

const justExpired = `now() - interval '${keptHours} hours'`;

/** Adds rows that are looked up, which the load generator knows, to a table that simulated days have passed on. */
export async function prepareTable({ url, admin }: EmptyTable): Promise<Table> {
  const base = Math.floor(Date.now() / 1000);
  await admin.query(insertRows(realTime.lookupRows, base));
  const expiredId = idOf(realTime.lookupRows);
  await admin.query(
    `insert into memory_job (req_id, status, created_at) values ($1, 'success', ${justExpired})`,
    [expiredId],
  );
  await admin.query("vacuum (analyze) memory_job");
  await admin.query("checkpoint");
  return { url, rows: realTime.lookupRows, base, expiredId };
}

/** Adds rows that have just become old enough to be deleted, as many a second as are submitted. */
export async function addExpired({ admin }: Pick<EmptyTable, "admin">, count: number): Promise<void> {
  await admin.query(
    `insert into memory_job (req_id, status, created_at)
     select gen_random_uuid(), 'success', date_trunc('second', ${justExpired} - make_interval(secs => i::float8 / ${realTime.inserts}))
     from generate_series(1, $1::integer) as i`,
    [count],
  );
}
