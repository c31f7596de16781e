import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Candidate } from "../candidates.ts";
import { databaseSettings, type Table } from "../database.ts";
import { type Cpus, describeMachine } from "../machine.ts";
import { concurrency, defaultRows, type Plan } from "../plan.ts";
import type { Measured } from "../round.ts";
import { markdown } from "./markdown.ts";
import { type Finding, findings } from "./summary.ts";
import { svg } from "./svg.ts";
import { versions } from "./versions.ts";

/** One server with one table, in each round. */
export interface Series {
  readonly candidate: Candidate;
  readonly table: Table;
  readonly measured: Measured[];
}

export interface Run {
  readonly started: Date;
  readonly plan: Plan;
  readonly cpus: Cpus;
  readonly postgres: string;
  readonly series: readonly Series[];
  readonly skipped: readonly string[];
}

/** All that is known about a run. */
export interface Report extends Omit<Run, "started"> {
  readonly date: string;
  readonly minutes: number;
  readonly command: string;
  readonly machine: Record<string, string>;
  readonly versions: Record<string, string>;
  readonly databaseSettings: Record<string, string>;
  readonly concurrency: typeof concurrency;
  readonly findings: readonly Finding[];
}

/** Writes bench/results/, where that is wanted. @returns the report in markdown. */
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
