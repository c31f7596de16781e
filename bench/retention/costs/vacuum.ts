import { heapAndIndexes, vacuumVerbosely } from "./counters.ts";
import { megabytes, type Section } from "./section.ts";
import { type FilledTable, refill } from "./table.ts";

const shares = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2];

/** What one vacuum costs, by the share of the table that is dead: the oldest rows, as a purge leaves them. */
export async function measureVacuum(table: FilledTable): Promise<Section> {
  const { client } = table;
  await refill(table);
  await client.query("vacuum (freeze) memory_job");
  const sizes = await heapAndIndexes(client);
  const rows: Section["rows"][number][] = [];
  const measure = async (name: string, share: number, before: string, options?: string) => {
    const count = Math.round(table.rows * share);
    await client.query(`
      delete from memory_job where ctid = any(array(
        select ctid from memory_job order by created_at limit ${count}))`);
    table.oldest += count;
    await client.query(`checkpoint; ${before}`);
    const { pages, dirtied, wal, seconds } = await vacuumVerbosely(client, options);
    rows.push([name, count, pages, dirtied, megabytes(wal), seconds, pages / count, wal / count]);
    await client.query("reset vacuum_cost_delay");
  };
  for (const share of shares) await measure(`${100 * share} %`, share, "");
  await measure("5 %, with autovacuum's pauses", 0.05, "set vacuum_cost_delay = '2ms'");
  await measure("5 %, index_cleanup off", 0.05, "", "analyze false, index_cleanup off");
  const { heap, primaryKey, createdAt } = sizes;
  return {
    title: `One vacuum, by the rows that are dead, ${table.rows / 1e6} million rows`,
    text:
      `Right after a checkpoint, so with full-page images. Table ${megabytes(heap).toFixed(0)} MB, primary key ${megabytes(primaryKey).toFixed(0)} MB, ` +
      `memory_job_created_at ${megabytes(createdAt).toFixed(0)} MB.`,
    columns: [
      "dead",
      "rows",
      "pages",
      "pages dirtied",
      "WAL MB",
      "seconds",
      "pages a dead row",
      "WAL bytes a dead row",
    ],
    rows,
  };
}
