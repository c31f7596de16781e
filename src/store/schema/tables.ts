import type { ColumnType, Generated } from "kysely";
import type { JobState } from "../../status/status.ts";

/** The tables, typed for Kysely. Their definition is in `migrations/`. */
export interface Tables {
  memory_job: MemoryJobTable;
}

/** One asynchronous Add Memory request. */
interface MemoryJobTable {
  req_id: string;
  status: JobState;
  /** Not null if and only if `status` is `failure`. */
  error: string | null;
  /** Whole seconds, by the database's clock. Set by the database. */
  created_at: Generated<Date>;
  /** Set by the database at every change. */
  updated_at: ColumnType<Date, never, never>;
}
