import pg from "pg";
import { isTerminated } from "./pg-internals.ts";

/**
 * Whether an error means that the connection is lost, and not just that the statement failed: the driver's own errors do
 * (they have no severity), and so do the server's FATAL and PANIC. An ERROR never does: an engine that loses one of its
 * servers reports 08006 or 57P01 as an ERROR, and the session lives on. Servers may translate the word; then the SQLSTATE
 * has to tell.
 */
export function isConnectionLost(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError) || error.severity === undefined) return true;
  if (error.severity === "ERROR") return false;
  return error.severity === "FATAL" || error.severity === "PANIC" || /^(08|57P)/.test(error.code ?? "");
}

/** SQLSTATE admin_shutdown, crash_shutdown, cannot_connect_now. An administrator who ends one connection causes the first. */
export function isStoppingOrStarting(error: unknown): boolean {
  return /^57P0[1-3]$/.test((error as Partial<pg.DatabaseError>).code ?? "");
}

/** SQLSTATE invalid_authorization_specification, invalid_password: while the password is being changed, for one. */
export function isLoginRefused(error: unknown): boolean {
  return /^28/.test((error as Partial<pg.DatabaseError> | undefined)?.code ?? "");
}

/**
 * Whether the server, or the network, has ended all connections: the server is stopping or starting, one of its
 * processes has crashed, or there is no route to it. Not: a timeout of this service, an answer that cannot be parsed, a
 * session's own timeout.
 */
export function endsAllConnections(error: unknown): boolean {
  const { code = "" } = error as Partial<pg.DatabaseError>;
  const isOfNetwork = /^(ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/.test(code);
  return isOfNetwork || isStoppingOrStarting(error) || isTerminated(error);
}
