import type { CompiledQuery } from "kysely";
import type { Row } from "./text-query.ts";

/** Decides, with each statement, whether the rows of a replica may be used. */
export interface FreshnessCheck {
  /** Asked right before each statement, in the same transaction. Has one row. */
  readonly query: CompiledQuery;
  /**
   * @param rows the row of {@link query} first.
   * @returns the rows of the statement.
   * @throws StaleReplica when they must not be used.
   */
  check(rows: readonly Row[]): readonly Row[];
}

/** Why what a replica answers must not be used. */
export class StaleReplica extends Error {
  override readonly name = "StaleReplica";
}
