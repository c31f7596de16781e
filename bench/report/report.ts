import type { Cpus } from "../machine.ts";
import type { concurrency, Plan } from "../plan.ts";
import type { Series } from "./series.ts";
import type { Finding } from "./summary.ts";

/** A run that has ended, as it was planned and measured. */
export interface Run {
  readonly started: Date;
  readonly plan: Plan;
  readonly cpus: Cpus;
  readonly postgres: string;
  readonly series: readonly Series[];
  readonly skipped: readonly string[];
}

/** A run, with its conditions and what follows from its figures. */
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
