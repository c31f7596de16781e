import { Counter, Gauge, type Registry } from "prom-client";
import { Histogram } from "./histogram.ts";

export interface DatabaseMetrics {
  /** A read statement was sent. @param ids the number of ids that it reads. */
  statement(ids: number): void;
  statementFailed(): void;
  /** A statement is repeated, since its connection was lost. */
  statementRetried(): void;
  /** Whether calls are refused, since the database is known to be unavailable. */
  breakerOpen(open: boolean): void;
  connectionLost(): void;
  watchPool(state: () => PoolState): void;
}

/** The numbers of connections of a pool. */
interface PoolState {
  readonly open: number;
  readonly idle: number;
  /** Requests that wait for a connection. */
  readonly waiting: number;
  readonly max: number;
}

export function createDatabaseMetrics(registry: Registry): DatabaseMetrics {
  const registers = [registry];
  const statementIds = new Histogram(registry, {
    name: "status_store_statement_ids",
    help: "Ids in one read statement. Its count is the number of statements.",
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
  }).series({});
  const failures = new Counter({
    name: "status_store_statement_failures",
    help: "Statements that the database did not answer.",
    registers,
  });
  const retries = new Counter({
    name: "status_store_statement_retries",
    help: "Statements that were repeated on another connection.",
    registers,
  });
  const breaker = new Gauge({
    name: "status_store_breaker_open",
    help: "1 while calls are refused, since the database is known to be unavailable. Otherwise 0.",
    registers,
  });
  const lost = new Counter({
    name: "db_client_connections_lost",
    help: "Connections to the database that were lost while idle.",
    registers,
  });

  return {
    statement: (ids) => statementIds.observe(ids),
    statementFailed: () => failures.inc(),
    statementRetried: () => retries.inc(),
    breakerOpen: (open) => breaker.set(open ? 1 : 0),
    connectionLost: () => lost.inc(),
    watchPool: (state) => watchPool(registry, state),
  };
}

function watchPool(registry: Registry, state: () => PoolState): void {
  const watch = (name: string, help: string, key: keyof PoolState) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(state()[key]);
      },
    });
  watch("db_client_connections_open", "Open connections to the database.", "open");
  watch("db_client_connections_idle", "Connections to the database that are not in use.", "idle");
  watch("db_client_connections_max", "Maximum number of connections to the database.", "max");
  watch(
    "db_client_connections_pending_requests",
    "Requests that wait for a connection to the database.",
    "waiting",
  );
}
