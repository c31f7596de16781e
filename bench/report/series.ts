import type { Candidate } from "../candidates.ts";
import type { Table } from "../database.ts";
import type { Measured } from "../round.ts";

/** One server with one table, in each round. */
export interface Series {
  readonly candidate: Candidate;
  readonly table: Table;
  readonly measured: Measured[];
}
