import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { databaseSettings } from "../database.ts";
import { describeMachine } from "../machine.ts";
import { concurrency, defaultRows } from "../plan.ts";
import { markdown } from "./markdown.ts";
import type { Report, Run } from "./report.ts";
import { findings } from "./summary.ts";
import { svg } from "./svg.ts";
import { versions } from "./versions.ts";

/** @param save whether bench/results/ is written. @returns the report in markdown. */
export async function writeReport(run: Run, { save }: { save: boolean }): Promise<string> {
  const { started, ...rest } = run;
  const { plan } = run;
  const report: Report = {
    date: started.toISOString(),
    minutes: Math.round((Date.now() - started.getTime()) / 6000) / 10,
    command: ["npm run bench", ...(process.argv.length > 2 ? ["--", ...process.argv.slice(2)] : [])].join(
      " ",
    ),
    machine: describeMachine(),
    versions: versions(run.postgres),
    databaseSettings,
    concurrency,
    findings: findings(run.series, run.plan),
    ...rest,
  };
  const name = [
    plan.quick ? "quick" : "full",
    ...(plan.rows === defaultRows ? [] : [`${plan.rows}-rows`]),
  ].join("-");
  const text = markdown(report, `${name}.svg`);
  if (save) {
    const folder = join(import.meta.dirname, "..", "results");
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, `${name}.md`), text);
    await writeFile(join(folder, `${name}.json`), json(report));
    await writeFile(join(folder, `${name}.svg`), svg(report));
  }
  return text;
}

function json({ series, ...facts }: Report): string {
  const servers = series.map(({ candidate: { name, protocol }, table: { rows }, measured }) => ({
    name,
    protocol,
    rows,
    rounds: measured,
  }));
  return `${JSON.stringify({ ...facts, servers }, undefined, 2)}\n`;
}
