import { Counter, Gauge, type Registry } from "prom-client";

const readinessStates = ["ready", "degraded", "not ready"] as const;

export interface ServiceMetrics {
  /** A client connection is closed because of a limit. */
  connectionDropped(): void;
  readiness(state: (typeof readinessStates)[number]): void;
  /** @param dropped the number of lines so far. */
  watchLog(dropped: () => number): void;
}

export function createServiceMetrics(registry: Registry, version: string): ServiceMetrics {
  const registers = [registry];
  const build = new Gauge({
    name: "build_info",
    help: "The versions of the service and of Node.",
    labelNames: ["version", "node"],
    registers,
  });
  build.set({ version, node: process.version }, 1);
  const dropped = new Counter({
    name: "connections_dropped",
    help: "Client connections that were closed because MAX_CONNECTIONS, or ulimit -n, was reached.",
    registers,
  });
  const readiness = new Gauge({
    name: "status_readiness",
    help: "1 for the state that was found last: ready, degraded (a replica answers in place of the primary), not ready.",
    labelNames: ["state"],
    registers,
  });

  return {
    connectionDropped: () => dropped.inc(),
    readiness(current) {
      for (const state of readinessStates) readiness.set({ state }, state === current ? 1 : 0);
    },
    watchLog: (count) => watchLog(registry, count),
  };
}

function watchLog(registry: Registry, dropped: () => number): void {
  new Counter({
    name: "log_lines_dropped",
    help: "Log lines that could not be written: the disk is full, or no process reads the log.",
    registers: [registry],
    collect() {
      this.reset();
      this.inc(dropped());
    },
  });
}
