import pg from "pg";
import { datastoreUnavailable, type StatusError, unreadableStatus } from "../../status/errors.ts";
import { isConnectionLost } from "../connections/connection-loss.ts";
import type { Engine } from "../schema/engine.ts";

/**
 * SQLSTATE classes that mean the statement or the role, whatever the ids: what is not supported (0A), a transaction's
 * state (25), a statement's name (26), authorization (28), names that do not exist (3…, 42), the engine's limits (54).
 */
const ofTheStatement = /^(0A|2[568]|3|42|54)/;

/** Classes with which an engine reports that one of the servers behind it is unavailable: 08, 57, 58, and 53 (its resources). */
const ofAnotherServer = /^(57|58|53)/;
const connectionException = /^08/;
const insufficientResources = /^53/;

/** A value that cannot be decoded (22), a row or an index that is damaged (XX001, XX002). */
const ofTheRow = /^(22|XX00[12]$)/;

/** Whether the ids of a statement that failed should be read one by one: it may have failed for one of them. */
export function mayConcernOneId(error: unknown, { isDistributed }: Engine): boolean {
  if (isConnectionLost(error)) return false;
  const sqlState = sqlStateOf(error);
  // A plain server that lacks memory, disk or connections is not asked for more.
  if (insufficientResources.test(sqlState)) return isDistributed;
  return !ofTheStatement.test(sqlState);
}

/** Whether a statement failed since one of the servers behind the engine is unavailable. A plain server never reports 08 so. */
export function isShardUnavailable(error: unknown, { isDistributed }: Engine): boolean {
  if (isConnectionLost(error)) return false;
  const sqlState = sqlStateOf(error);
  return connectionException.test(sqlState) || (isDistributed && ofAnotherServer.test(sqlState));
}

/** @returns the error of a call whose statement failed. @param ids how many it asked for. */
export function toStatusError(cause: unknown, ids: number): StatusError {
  const concernsRow = ids === 1 && !isConnectionLost(cause) && ofTheRow.test(sqlStateOf(cause));
  return concernsRow ? unreadableStatus(cause) : datastoreUnavailable(cause);
}

/** @returns the SQLSTATE; an empty text for an error of the driver itself. */
export function sqlStateOf(error: unknown): string {
  return (error instanceof pg.DatabaseError && error.code) || "";
}
