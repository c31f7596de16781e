import type { Config } from "../config/config.ts";
import type { Log } from "../telemetry/log.ts";

/** Files that are no connections: what Node itself has open, the log, certificates while they are read, name servers. */
const ownFiles = 64;

/** A connection to the database may have another beside it, which cancels its statement. */
const filesOfConnection = 2;

/**
 * How many connections from clients there may be: `MAX_CONNECTIONS`, or what the limit of open files (`ulimit -n`) leaves
 * beside those to the database. Beyond the limit, the operating system would refuse either, and Node would not say which.
 */
export function connectionsWithin(
  { MAX_CONNECTIONS, DATABASE_POOL_SIZE, DATABASE_READ_URL }: Config,
  log: Log,
  openFiles = limitOfOpenFiles(),
): number {
  const databases = DATABASE_READ_URL === undefined ? 1 : 2;
  const reserve = ownFiles + filesOfConnection * DATABASE_POOL_SIZE * databases;
  const connections = Math.max(1, openFiles - reserve);
  if (MAX_CONNECTIONS <= connections) return MAX_CONNECTIONS;
  log.warn(
    { MAX_CONNECTIONS, openFiles, connections },
    "MAX_CONNECTIONS is more than ulimit -n admits: fewer connections are served",
  );
  return connections;
}

/** Node has raised the soft limit to the hard one. */
function limitOfOpenFiles(): number {
  // Looking up the names of addresses would take its time. Node's types lack this.
  Object.assign(process.report, { excludeNetwork: true });
  const report = process.report.getReport() as { userLimits?: { open_files?: { soft?: unknown } } };
  const soft = report.userLimits?.open_files?.soft;
  return typeof soft === "number" ? soft : Number.POSITIVE_INFINITY;
}
