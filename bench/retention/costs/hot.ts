import type { CostsBench } from "./bench.ts";
import { type Life, live } from "./life.ts";
import { megabytes, type Section } from "./section.ts";

const title = "The life of a job, by index and fillfactor";
const text =
  "40,000 jobs live, 30,000 more come, change and are purged, by four connections, each step a transaction: 2.6 updates a job, of which 0.2 submit it again. " +
  "Rows are vacuumed when a fifth of the table is dead. WAL without full-page images. `snapshot`: an open one, a second old on average, " +
  "keeps dead versions for as long.";

const fillfactors = [100, 90, 80, 70];

/** How many updates stay in their page, and what that saves. */
export async function measureHot(bench: CostsBench, log: (text: string) => void): Promise<Section> {
  const of = (index: Life["index"], snapshot: boolean) =>
    fillfactors.map((fillfactor): Life => ({ index, fillfactor, snapshot, scaleFactor: 0.2 }));
  const lives = [...of("none", false), ...of("btree", false), ...of("btree", true)];
  return await measureLives(bench, { title, text, lives, name: nameOf }, log);
}

function nameOf({ index, fillfactor, snapshot }: Life): string {
  return `${index}, ${fillfactor}${snapshot ? ", snapshot" : ""}`;
}

interface Series {
  readonly title: string;
  readonly text: string;
  readonly lives: readonly Life[];
  readonly name: (life: Life) => string;
}

export async function measureLives(
  bench: CostsBench,
  { title, text, lives, name }: Series,
  log: (text: string) => void,
): Promise<Section> {
  await bench.set("full_page_writes", "off");
  const rows: Section["rows"][number][] = [];
  for (const life of lives) {
    const costs = await live(bench, life);
    rows.push([
      name(life),
      (100 * costs.hot) / costs.updates,
      costs.walPerJob,
      megabytes(costs.heap),
      megabytes(costs.primaryKey),
      megabytes(costs.createdAt),
      costs.lookupPages,
      costs.vacuums,
      costs.vacuumPagesPerJob,
      costs.vacuumWalPerJob,
    ]);
    log(`${name(life)}: ${JSON.stringify(costs)}`);
  }
  await bench.set("full_page_writes", "on");
  const columns = [
    "index, fillfactor",
    "HOT %",
    "WAL bytes a job",
    "table MB",
    "primary key MB",
    "created_at MB",
    "pages a lookup",
    "vacuums",
    "pages of vacuum a job",
    "WAL bytes of vacuum a job",
  ];
  return { title, text, columns, rows };
}
