import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { ListenToCalls } from "./calls.ts";
import { Histogram, type Observations } from "./histogram.ts";

/** What a pool of connections tells about itself. */
interface PoolState {
  readonly open: number;
  readonly idle: number;
  /** Whoever waits for a connection. */
  readonly waiting: number;
  readonly max: number;
}

/** Who answers, when there is a replica. */
interface ReplicaMetrics {
  read(role: string): void;
  /** The primary is asked for what the replica could not answer. */
  reask(cause: string): void;
}

const readinessStates = ["ready", "degraded", "not ready"] as const;
type ReadinessState = (typeof readinessStates)[number];

export interface Metrics {
  readonly contentType: string;
  /** Everything, as OpenMetrics text. */
  text(): Promise<string>;
  readonly calls: ListenToCalls;
  /** Counts calls by the names of callers' tokens, too. @param names all that there have been. */
  watchCallers(names: ReadonlySet<string>): ListenToCalls;
  /** A statement left, for so many ids. */
  statement(ids: number): void;
  statementFailed(): void;
  /** A statement is run once more, since its connection was bad. */
  statementRetried(): void;
  /** Whether calls are refused since the database is known to be gone. */
  breakerOpen(open: boolean): void;
  connectionLost(): void;
  /** A client's connection is closed since there are as many as there may be. */
  connectionDropped(): void;
  /** What the instance last found out about its datastore, or that it is stopping. */
  readiness(state: ReadinessState): void;
  watchPool(state: () => PoolState): void;
  /** @param dropped how many lines so far. */
  watchLog(dropped: () => number): void;
  watchReplica(serving: () => boolean): ReplicaMetrics;
}

/** 0.1 ms to 2 s, in seconds: 1, 2, 5 and so on. */
const latencies = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2];

/**
 * Names follow Prometheus' rules and OpenTelemetry's conventions for RPC servers and database clients. Every label
 * has a fixed set of values: none that a caller could make up.
 */
export function createMetrics(version: string): Metrics {
  const registry = new Registry();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const build = new Gauge({
    name: "build_info",
    help: "The version that runs.",
    labelNames: ["version", "node"],
    registers,
  });
  build.set({ version, node: process.version }, 1);

  const durations = new Histogram(registry, {
    name: "rpc_server_call_duration_seconds",
    help: "How long calls took. Its count is the number of calls.",
    buckets: latencies,
  });
  const inFlight: (() => void)[] = [];
  const inFlightGauge = new Gauge({
    name: "rpc_server_calls_in_flight",
    help: "Calls that are not answered yet.",
    labelNames: ["rpc_system_name", "rpc_method"],
    registers,
    collect() {
      for (const collect of inFlight) collect();
    },
  });

  const statementIds = new Histogram(registry, {
    name: "status_store_statement_ids",
    help: "Ids in one statement. Its count is the number of statements.",
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
  }).series({});
  const failures = new Counter({
    name: "status_store_statement_failures",
    help: "Statements that the database did not answer.",
    registers,
  });
  const retries = new Counter({
    name: "status_store_statement_retries",
    help: "Statements that were run once more, on another connection.",
    registers,
  });
  const breaker = new Gauge({
    name: "status_store_breaker_open",
    help: "1 while calls are refused, since the database is known to be gone. Otherwise 0.",
    registers,
  });
  const lost = new Counter({
    name: "db_client_connections_lost",
    help: "Connections to the database that were lost while idle.",
    registers,
  });

  const dropped = new Counter({
    name: "connections_dropped",
    help: "Connections from clients that were closed since there were as many as MAX_CONNECTIONS, or ulimit -n, admit.",
    registers,
  });

  const readiness = new Gauge({
    name: "status_readiness",
    help: "1 for the state that /readyz last found: ready, degraded (a replica answers in the primary's place), not ready.",
    labelNames: ["state"],
    registers,
  });

  function watchPool(state: () => PoolState): void {
    const watch = (name: string, help: string, key: keyof PoolState) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(state()[key]);
        },
      });
    watch("db_client_connections_open", "Connections to the database.", "open");
    watch("db_client_connections_idle", "Connections that nobody uses now.", "idle");
    watch("db_client_connections_max", "Connections at most.", "max");
    watch("db_client_connections_pending_requests", "Those who wait for a connection.", "waiting");
  }

  function watchLog(dropped: () => number): void {
    new Counter({
      name: "log_lines_dropped",
      help: "Lines of the log that could not be written: its disk is full, or nobody reads it.",
      registers,
      collect() {
        this.reset();
        this.inc(dropped());
      },
    });
  }

  function watchReplica(serving: () => boolean): ReplicaMetrics {
    const reads = new Counter({
      name: "status_store_reads",
      help: "Reads that were answered, by the role that answered.",
      labelNames: ["role"],
      registers,
    });
    const reasks = new Counter({
      name: "status_store_reasks",
      help: "Reads that the replica had no answer for that may be given, by why.",
      labelNames: ["cause"],
      registers,
    });
    new Gauge({
      name: "status_store_replica_serving",
      help: "1 while reads go to the replica.",
      registers,
      collect() {
        this.set(serving() ? 1 : 0);
      },
    });
    return { read: (role) => reads.inc({ role }), reask: (cause) => reasks.inc({ cause }) };
  }

  function watchCallers(names: ReadonlySet<string>): ListenToCalls {
    /** A call may have no name: it was refused, or needs none. */
    const ended = new Map<string, { calls: number }>([["", { calls: 0 }]]);
    const add = (name: string) => {
      const count = { calls: 0 };
      ended.set(name, count);
      return count;
    };
    new Counter({
      name: "rpc_server_caller_calls",
      help: "Calls by the name of the caller's token. No name: calls without a token that is known.",
      labelNames: ["caller"],
      registers,
      collect() {
        for (const name of names) if (!ended.has(name)) add(name);
        this.reset();
        for (const [caller, { calls }] of ended) this.inc({ caller }, calls);
      },
    });
    return () => ({
      ended({ info: { caller = "" } }) {
        (ended.get(caller) ?? add(caller)).calls++;
      },
    });
  }

  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    calls(protocol, method) {
      const labels = { rpc_system_name: protocol, rpc_method: method };
      const byCode = new Map<string, Observations>();
      const observe = (code: string) => {
        const series = durations.series({ ...labels, rpc_status_code: code });
        byCode.set(code, series);
        return series;
      };
      let active = 0;
      inFlight.push(() => inFlightGauge.set(labels, active));
      return {
        started() {
          active++;
        },
        ended({ code, duration }) {
          active--;
          (byCode.get(code) ?? observe(code)).observe(duration / 1000);
        },
      };
    },
    statement: (ids) => statementIds.observe(ids),
    statementFailed: () => failures.inc(),
    statementRetried: () => retries.inc(),
    breakerOpen: (open) => breaker.set(open ? 1 : 0),
    connectionLost: () => lost.inc(),
    connectionDropped: () => dropped.inc(),
    readiness(current) {
      for (const state of readinessStates) readiness.set({ state }, state === current ? 1 : 0);
    },
    watchCallers,
    watchPool,
    watchLog,
    watchReplica,
  };
}
