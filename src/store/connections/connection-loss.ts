import pg from "pg";

/**
 * Whether an error means that the connection is bad, and not just the query: the driver's own errors do (they have no
 * severity), and so do the server's FATAL and PANIC. An ERROR never does: an engine that loses one of its servers says
 * 08006 or 57P01 as an ERROR, and the session lives on. Servers may translate the word; then the SQLSTATE has to tell.
 */
export function isConnectionLost(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError) || error.severity === undefined) return true;
  if (error.severity === "ERROR") return false;
  return error.severity === "FATAL" || error.severity === "PANIC" || /^(08|57P)/.test(error.code ?? "");
}

/**
 * Whether the server, or the way to it, has ended all connections: it is shutting down or starting (57P01 to 57P03; it
 * says the same when it ends one on an administrator's account), one of its processes has crashed, or the network says
 * that there is no way. Not: a time of ours that has passed, an answer that makes no sense, a session's own timeout.
 */
export function endsAllConnections(error: unknown): boolean {
  const { code = "", message } = error as Partial<pg.DatabaseError>;
  return (
    /^(57P0[1-3]|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/.test(code) ||
    message === "Connection terminated unexpectedly"
  );
}
