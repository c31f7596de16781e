import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Cpus, describeMachine } from "../../machine.ts";
import { versions } from "../../report/versions.ts";
import { databaseSettings } from "../database.ts";
import type { Plan } from "../plan.ts";
import { markdown } from "./markdown.ts";
import type { Measured, Report } from "./report.ts";
import { svg } from "./svg.ts";

const folder = join(import.meta.dirname, "..", "..", "results");

export interface Run {
  readonly plan: Plan;
  readonly started: Date;
  readonly cpus: Cpus;
  /** The server's version. */
  readonly postgres: string;
  readonly measured: Measured;
}

/** Writes bench/results/retention.*, or retention-quick.*. @returns the report in markdown. */
export async function writeReport({ plan, started, cpus, postgres, measured }: Run): Promise<string> {
  const report: Report = {
    plan,
    date: started.toISOString(),
    minutes: Math.round((Date.now() - started.getTime()) / 6000) / 10,
    cpus,
    machine: describeMachine(),
    versions: versions(postgres),
    databaseSettings,
    ...measured,
  };
  const name = plan.isQuick ? "retention-quick" : "retention";
  const text = markdown(report, `${name}.svg`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, `${name}.md`), text);
  await writeFile(join(folder, `${name}.svg`), svg(report));
  await writeFile(join(folder, `${name}.json`), `${JSON.stringify(report, undefined, 2)}\n`);
  return text;
}
