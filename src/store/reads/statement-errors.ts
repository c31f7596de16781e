import pg from "pg";
import { StatusError, unreadableStatus } from "../../status/errors.ts";
import { isConnectionLost } from "../connections/connection-loss.ts";
import type { Engine } from "../schema/engine.ts";

/**
 * SQLSTATE classes that mean the statement or the role, whatever the ids: what is not supported (0A), a transaction's
 * state (25), a statement's name (26), authorization (28), names that are not there (3…, 42), the engine's limits (54).
 */
const whateverTheIds = /^(0A|2[568]|3|42|54)/;

/** Classes with which an engine says that one of the servers behind it is gone: 08, 57, 58, and 53 (its resources). */
const ofAnotherServer = /^(57|58|53)/;
const connectionException = /^08/;
const insufficientResources = /^53/;

/** A value that cannot be decoded (22), a row or an index that is damaged (XX001, XX002). */
const ofTheRow = /^(22|XX00[12]$)/;

/** Whether the ids of a statement that failed should be asked for one by one: it may have failed for one of them. */
export function mayConcernOneId(error: unknown, { isDistributed }: Engine): boolean {
  if (isConnectionLost(error)) return false;
  const code = codeOf(error);
  // A plain server that lacks memory, disk or connections is not asked more.
  if (insufficientResources.test(code)) return isDistributed;
  return !whateverTheIds.test(code);
}

/** Whether a statement failed since one of the servers behind the engine is gone. A plain server never says 08 so. */
export function isShardLost(error: unknown, { isDistributed }: Engine): boolean {
  if (isConnectionLost(error)) return false;
  const code = codeOf(error);
  return connectionException.test(code) || (isDistributed && ofAnotherServer.test(code));
}

/** What a call is told whose statement failed, for its id alone or for all. */
export function toStatusError(cause: unknown, ids: number): StatusError {
  if (ids === 1 && !isConnectionLost(cause) && ofTheRow.test(codeOf(cause))) return unreadableStatus(cause);
  return new StatusError("DATASTORE_UNAVAILABLE", "the status could not be read (try again)", { cause });
}

/** @returns the SQLSTATE; for what the driver says by itself, nothing. */
export function codeOf(error: unknown): string {
  return (error instanceof pg.DatabaseError && error.code) || "";
}
