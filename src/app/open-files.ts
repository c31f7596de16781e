import type { Config } from "../config/config.ts";
import type { Log } from "../telemetry/log.ts";

/** Open files besides connections: those of Node itself, the log, certificates while they are read, DNS queries. */
const otherFiles = 64;

/** A statement is cancelled over a second connection to the database. */
const filesPerConnection = 2;

/**
 * @returns the limit of client connections: `MAX_CONNECTIONS`, or what the limit of open files (`ulimit -n`) leaves beside the
 *   connections to the database. Without it, the operating system would refuse connections of both kinds.
 */
export function connectionsWithin(
  { MAX_CONNECTIONS, DATABASE_POOL_SIZE, DATABASE_READ_URL }: Config,
  log: Log,
  openFiles = limitOfOpenFiles(),
): number {
  const databases = DATABASE_READ_URL === undefined ? 1 : 2;
  const reserve = otherFiles + filesPerConnection * DATABASE_POOL_SIZE * databases;
  const connections = Math.max(1, openFiles - reserve);
  if (MAX_CONNECTIONS <= connections) return MAX_CONNECTIONS;
  log.warn(
    { MAX_CONNECTIONS, openFiles, connections },
    "MAX_CONNECTIONS exceeds ulimit -n: fewer connections are accepted",
  );
  return connections;
}

/** The soft limit, which Node raises to the hard limit at its start. */
function limitOfOpenFiles(): number {
  // Without this, the report resolves the names of all addresses. @types/node lacks it.
  Object.assign(process.report, { excludeNetwork: true });
  const report = process.report.getReport() as { userLimits?: { open_files?: { soft?: unknown } } };
  const soft = report.userLimits?.open_files?.soft;
  return typeof soft === "number" ? soft : Number.POSITIVE_INFINITY;
}
