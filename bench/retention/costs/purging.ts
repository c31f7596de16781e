import { spread } from "../../report/spread.ts";
import { type Address, type BatchCosts, choice, explain, explainAndUndo, purge } from "./batch.ts";
import type { CostsBench } from "./bench.ts";
import type { Section } from "./section.ts";
import { type FilledTable, refill } from "./table.ts";

const rounds = 5;
const median = (costs: readonly BatchCosts[], of: (each: BatchCosts) => number) =>
  spread(costs.map(of)).median;

/** `ctid` or `req_id`, and batches of several sizes, in turn on the same table. */
export async function measureBatches(table: FilledTable): Promise<Section[]> {
  const addresses = await inTurn(table, ["ctid", "req_id"] as const, (address) => ({
    rows: 5_000,
    address,
  }));
  const sizes = await inTurn(table, [500, 1_000, 5_000, 20_000] as const, (rows) => ({
    rows,
    address: "ctid" as Address,
  }));
  const columns = ["", "rows/s", "pages a row", "WAL bytes a row", "ms a batch", "longest ms"];
  const million = `${table.rows / 1e6} million rows`;
  const row = (name: string, size: number, costs: readonly BatchCosts[]): Section["rows"][number] => [
    name,
    size / (median(costs, ({ milliseconds }) => milliseconds) / 1000),
    median(costs, ({ pages }) => pages) / size,
    median(costs, ({ wal }) => wal) / size,
    median(costs, ({ milliseconds }) => milliseconds),
    Math.max(...costs.map(({ milliseconds }) => milliseconds)),
  ];
  return [
    {
      title: `How a batch deletes what it has chosen, ${million}`,
      text: `Batches of 5,000 in turn, medians of ${rounds} rounds of four.`,
      columns,
      rows: [...addresses].map(([address, costs]) => row(address, 5_000, costs)),
    },
    {
      title: `Sizes of a batch, ${million}`,
      text: `20,000 rows of each size in turn, medians of ${rounds} rounds.`,
      columns,
      rows: [...sizes].map(([size, costs]) => row(size.toLocaleString("en"), size, costs)),
    },
  ];
}

async function inTurn<Name>(
  table: FilledTable,
  names: readonly Name[],
  batchOf: (name: Name) => { rows: number; address: Address },
): Promise<Map<Name, BatchCosts[]>> {
  const all = new Map<Name, BatchCosts[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const turn = names.map((_, i) => names[(i + round) % names.length] as Name);
    for (const name of turn) {
      const batch = batchOf(name);
      for (let rows = 0; rows < 20_000; rows += batch.rows) {
        const notBefore = table.at(table.oldest);
        const cutoff = table.at(table.oldest + 2 * batch.rows + 1_000);
        all.get(name)?.push(await explain(table.client, purge({ ...batch, notBefore, cutoff })));
        table.oldest += batch.rows;
      }
    }
  }
  return all;
}

/** What the dead entries of the index cost the choice of a batch when it does not begin behind them. */
export async function measureBound(bench: CostsBench, table: FilledTable): Promise<Section> {
  const { client } = table;
  await refill(table);
  await client.query("vacuum memory_job");
  const count = table.rows / 10;
  const reader = await bench.connect("filled");
  await reader.query("begin isolation level repeatable read; select from memory_job limit 1");
  for (let rows = 0; rows < count; rows += 20_000) {
    const notBefore = table.at(table.oldest);
    await client.query(purge({ rows: 20_000, notBefore, cutoff: table.at(table.oldest + 60_000) }));
    table.oldest += 20_000;
  }
  const cutoff = table.at(table.oldest + 20_000);
  const whole = choice({ rows: 5_000, cutoff });
  const bounded = choice({ rows: 5_000, cutoff, notBefore: table.at(table.oldest - 5_000) });
  const rows: Section["rows"][number][] = [];
  const measure = async (name: string, statement: string) => {
    const { pages, milliseconds } = await explainAndUndo(client, statement);
    rows.push([name, pages, milliseconds]);
  };
  await measure("no bound, an older snapshot is open", whole);
  await measure("no bound, an older snapshot is open, again", whole);
  await measure("bound, an older snapshot is open", bounded);
  await reader.query("commit");
  await reader.end();
  await measure("no bound, the first time after it", whole);
  await measure("no bound, the second time", whole);
  await measure("no bound, the third time", whole);
  await measure("bound", bounded);
  await client.query("vacuum memory_job");
  await measure("no bound, after vacuum", whole);
  return {
    title: `The choice of 5,000 rows once ${count.toLocaleString("en")} were purged without vacuum, ${table.rows / 1e6} million rows`,
    text: "A batch that carries the lower bound on begins where the batch before it ended.",
    columns: ["", "pages", "ms"],
    rows,
  };
}
