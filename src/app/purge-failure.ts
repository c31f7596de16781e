import pg from "pg";
import { isLoginRefused } from "../store/connections/connection-loss.ts";
import { PurgeDenied } from "../store/jobs/retention.ts";
import { isDefinite } from "../store/schema/migrate.ts";
import { SchemaError } from "../store/schema/schema-error.ts";

/** SQLSTATE insufficient_privilege. */
const denied = "42501";

/** SQLSTATE read_only_sql_transaction: a standby, which may be promoted. */
const readOnly = "25006";

/**
 * @returns what an error of a purge means. `denied`: the database does not admit the role, or the role may not purge;
 *   `unavailable`: the database did not answer, is not migrated or takes no writes; `failure`: anything else.
 */
export function purgeFailure(error: unknown): "denied" | "unavailable" | "failure" {
  if (error instanceof PurgeDenied || isLoginRefused(error) || isServerError(error, denied)) return "denied";
  if (error instanceof SchemaError || isServerError(error, readOnly)) return "unavailable";
  return isBug(error) || isDefinite(error) ? "failure" : "unavailable";
}

function isServerError(error: unknown, code: string): boolean {
  return error instanceof pg.DatabaseError && error.code === code;
}

/** Node and the driver report the loss of a connection as a plain Error: these classes show a fault of the program. */
function isBug(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
}
