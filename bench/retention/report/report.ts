import type { Cpus } from "../../machine.ts";
import type { Days } from "../days/days.ts";
import type { Plan } from "../plan.ts";
import type { RealTimeWindow } from "../real-time/window.ts";

/** All figures of a run. */
export interface Measured {
  /** The ways to delete, on smaller tables. */
  readonly compared: readonly Days[];
  readonly days: Days;
  readonly windows: readonly RealTimeWindow[];
}

/** A run with its circumstances. */
export interface Report extends Measured {
  readonly plan: Plan;
  readonly date: string;
  readonly minutes: number;
  readonly cpus: Cpus;
  readonly machine: Record<string, string>;
  readonly versions: Record<string, string>;
  readonly databaseSettings: Readonly<Record<string, string>>;
}
