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

/**
 * Whether the server, or the network, has ended all connections: the server is shutting down or starting (57P01 to 57P03; an
 * administrator who ends one connection causes the same), one of its processes has crashed, or there is no route to it. Not:
 * a timeout of this service, an answer that cannot be parsed, a session's own timeout.
 */
export function endsAllConnections(error: unknown): boolean {
  const { code = "" } = error as Partial<pg.DatabaseError>;
  return (
    /^(57P0[1-3]|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/.test(code) || isTerminated(error)
  );
}
