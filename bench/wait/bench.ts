import type pg from "pg";
import type { BenchDatabase, Table } from "../database.ts";
import type { Cpus } from "../machine.ts";

/** What every measurement of a run uses. */
export interface Bench {
  readonly cpus: Cpus;
  readonly database: BenchDatabase;
  readonly table: Table;
  /** Connected to the table's database. */
  readonly admin: pg.Client;
  /** @returns the first of this number of rows that no measurement has used. */
  takeRows(count: number): number;
}
