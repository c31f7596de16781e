import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describeMachine } from "../../machine.ts";
import { versions } from "../../report/versions.ts";
import { markdown } from "./markdown.ts";
import type { Measured, Report } from "./report.ts";

const folder = join(import.meta.dirname, "..", "..", "results");

/** Writes bench/results/wait.*. @returns the report in markdown. */
export async function writeReport(measured: Measured, started: Date, postgres: string): Promise<string> {
  const report: Report = {
    date: started.toISOString(),
    minutes: Math.round((Date.now() - started.getTime()) / 6000) / 10,
    machine: describeMachine(),
    versions: versions(postgres),
    ...measured,
  };
  const text = markdown(report);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "wait.md"), text);
  await writeFile(join(folder, "wait.json"), `${JSON.stringify(report, undefined, 2)}\n`);
  return text;
}
