/** `npm run bench:retention-costs`: what the index on created_at, vacuum and purging cost, and which settings of the table pay. */
import { parseArgs } from "node:util";
import { type CostsBench, openBench } from "./retention/costs/bench.ts";
import { measureBrin } from "./retention/costs/brin.ts";
import { measureHot } from "./retention/costs/hot.ts";
import { measureIndexes } from "./retention/costs/indexes.ts";
import { measureBatches, measureBound } from "./retention/costs/purging.ts";
import { writeReport } from "./retention/costs/report.ts";
import { measureScaleFactors } from "./retention/costs/scale-factor.ts";
import type { Section } from "./retention/costs/section.ts";
import { fill } from "./retention/costs/table.ts";
import { measureVacuum } from "./retention/costs/vacuum.ts";

const fillfactor = 90;

const parts: Record<string, (bench: CostsBench) => Promise<Section[]>> = {
  indexes: measureIndexes,
  hot: async (bench) => [await measureHot(bench, log)],
  "scale-factor": async (bench) => [await measureScaleFactors(bench, fillfactor, log)],
  million: (bench) => measureTable(bench, "million", 1_000_000),
  "ten-million": (bench) => measureTable(bench, "ten-million", 10_000_000),
};

const usage = `npm run bench:retention-costs [-- --only PART]

Measures all parts, in about fifteen minutes, and writes bench/results/retention-costs.*
--only PART  only this one of ${Object.keys(parts).join(", ")}, may be repeated; the others keep the figures of an earlier run
`;

const { values } = parseArgs({
  options: { only: { type: "string", multiple: true }, help: { type: "boolean" } },
});
if (values.help) {
  process.stdout.write(usage);
  process.exit(0);
}

await using bench = await openBench();
for (const [name, measure] of Object.entries(parts)) {
  if (values.only && !values.only.includes(name)) continue;
  log(name);
  await writeReport({ [name]: await measure(bench) }, bench.version);
}

async function measureTable(bench: CostsBench, name: string, rows: number): Promise<Section[]> {
  const table = await fill(bench, rows, fillfactor);
  const sections = await measureBatches(table);
  await writeReport({ [name]: sections }, bench.version);
  log("the lower bound");
  sections.push(await measureBound(bench, table));
  log("vacuum");
  sections.push(await measureVacuum(table));
  await writeReport({ [name]: sections }, bench.version);
  log("another index");
  sections.push(await measureBrin(table));
  await table.client.end();
  await bench.drop("filled");
  return sections;
}

function log(text: string): void {
  process.stderr.write(`${text}\n`);
}
