import { existsSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describeMachine } from "../../machine.ts";
import { table } from "../../report/cells.ts";
import { serverSettings } from "./bench.ts";
import { cell, type Section } from "./section.ts";

const folder = join(import.meta.dirname, "..", "..", "results");
const file = join(folder, "retention-costs.json");

interface Report {
  readonly date: string;
  readonly machine: Record<string, string>;
  readonly postgresql: string;
  /** By the name of the part that measured them. */
  readonly parts: Readonly<Record<string, readonly Section[]>>;
}

/** Writes bench/results/retention-costs.*, where parts that were not measured now keep the figures of an earlier run. */
export async function writeReport(parts: Report["parts"], postgres: string): Promise<void> {
  const earlier = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Report) : undefined;
  const report: Report = {
    date: new Date().toISOString(),
    machine: describeMachine(),
    postgresql: postgres,
    parts: { ...earlier?.parts, ...parts },
  };
  await mkdir(folder, { recursive: true });
  await writeFile(file, `${JSON.stringify(report, undefined, 2)}\n`);
  await writeFile(join(folder, "retention-costs.md"), markdown(report));
}

export function markdown({ date, machine, postgresql, parts }: Report): string {
  const settings = Object.entries(serverSettings).map(([name, value]) => `\`${name} = ${value}\``);
  const sections = Object.values(parts).flat();
  return `# What retention costs the table, measured on ${date.slice(0, 10)}

\`npm run bench:retention-costs\`, on ${Object.values(machine).join(", ")}; PostgreSQL ${postgresql} with its defaults, durable, but for
${settings.join(", ")}.
A page is 8 KB. Of times, only ratios within a table can be compared.

${sections.map(render).join("\n\n")}
`;
}

function render({ title, text, columns, rows }: Section): string {
  const cells = rows.map(([name, ...values]) => [name, ...values.map(cell)]);
  return `## ${title}\n\n${text}\n\n${table(columns, cells)}`;
}
