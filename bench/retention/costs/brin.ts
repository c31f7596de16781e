import { choice, explainAndUndo } from "./batch.ts";
import type { Section } from "./section.ts";
import { type FilledTable, insert } from "./table.ts";

const ranges = [128, 32];

/** The choice of a batch by a B-tree, by BRIN and without an index, once pages were used again and jobs submitted again. */
export async function measureBrin(table: FilledTable): Promise<Section> {
  const { client } = table;
  const rows = table.next - table.oldest;
  const name = (pages: number) => `brin_${pages}`;
  const create = (pages: number) =>
    client.query(
      `create index ${name(pages)} on memory_job using brin (created_at) with (pages_per_range = ${pages})`,
    );
  for (const pages of ranges) await create(pages);
  await churn(table, rows);
  // As autosummarize does, of pages that are new.
  for (const pages of ranges) await client.query(`select brin_summarize_new_values('${name(pages)}')`);
  const cells: Section["rows"][number][] = [];
  const measure = async (title: string, index: string | undefined) => {
    const unwanted = ["memory_job_created_at", ...ranges.map(name)].filter((each) => each !== index);
    const before = `drop index ${unwanted.join(", ")}; set local max_parallel_workers_per_gather = 0;
      set local enable_seqscan = ${index === undefined ? "on" : "off"}`;
    const figures: number[] = [];
    for (const due of [rows / 100, rows / 4]) {
      const statement = choice({ rows: 5_000, cutoff: table.at(table.oldest + due) });
      const { pages, milliseconds } = await explainAndUndo(client, statement, before);
      figures.push(pages, milliseconds);
    }
    cells.push([title, ...figures]);
  };
  await measure("B-tree", "memory_job_created_at");
  for (const pages of ranges) await measure(`BRIN, ${pages} pages a range`, name(pages));
  for (const pages of ranges) {
    await client.query(`drop index ${name(pages)}`);
    await create(pages);
    await measure(`BRIN, ${pages} pages a range, rebuilt`, name(pages));
  }
  await measure("none", undefined);
  return {
    title: `The choice of 5,000 rows by another index, ${(rows / 1e6).toFixed(1)} million rows`,
    text:
      "After a quarter of the table was purged, vacuumed and filled again with new jobs, and a twentieth, at random, was submitted again, in the order of the " +
      "table, which has room for more. A hundredth of the rows is due, as after a quarter of an hour, or a quarter, as after a pause of hours.",
    columns: ["index", "pages, a hundredth due", "ms", "pages, a quarter due", "ms"],
    rows: cells,
  };
}

async function churn(table: FilledTable, rows: number): Promise<void> {
  const { client, at } = table;
  table.oldest += rows / 4;
  await client.query(`delete from memory_job where created_at < ${at(table.oldest)}`);
  await client.query("vacuum memory_job");
  await insert(table, rows / 4);
  await client.query(`
    set session_replication_role = replica;
    update memory_job set created_at = ${at(table.next)}
    where req_id = any(array(
      select md5(floor(${table.oldest} + random() * ${rows})::bigint::text)::uuid from generate_series(1, ${rows / 20})));
    reset session_replication_role`);
  await client.query("vacuum (analyze) memory_job");
}
