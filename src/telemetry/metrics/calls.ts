import { Counter, Gauge, type Registry } from "prom-client";
import type { ListenToCalls } from "../calls.ts";
import { measureHeldCalls } from "./held.ts";
import { Histogram, type Observations } from "./histogram.ts";

export interface CallMetrics {
  /** Measures calls by protocol, method and code; those that were held by kind and outcome. */
  readonly calls: ListenToCalls;
  /** Counts calls by the name of the caller's token. @param names all names that there are, and have been. */
  watchCallers(names: ReadonlySet<string>): ListenToCalls;
}

/** 0.1 ms to 2 s, in seconds. */
const latencies = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2];

export function createCallMetrics(registry: Registry): CallMetrics {
  const durations = new Histogram(registry, {
    name: "rpc_server_call_duration_seconds",
    help: "Duration of calls that were not held. Its count is their number. Held calls: rpc_server_held_call_duration_seconds.",
    buckets: latencies,
  });
  const measureHeld = measureHeldCalls(registry);
  /** Sets the gauge for each method and protocol. */
  const collectors: (() => void)[] = [];
  const inFlight = new Gauge({
    name: "rpc_server_calls_in_flight",
    help: "Calls that have not ended yet, including those that are held.",
    labelNames: ["rpc_system_name", "rpc_method"],
    registers: [registry],
    collect() {
      for (const collect of collectors) collect();
    },
  });

  return {
    calls(protocol, method) {
      const labels = { rpc_system_name: protocol, rpc_method: method };
      const byCode = new Map<string, Observations>();
      const addCode = (code: string) => {
        const series = durations.series({ ...labels, rpc_status_code: code });
        byCode.set(code, series);
        return series;
      };
      let active = 0;
      collectors.push(() => inFlight.set(labels, active));
      return {
        started() {
          active++;
        },
        ended(outcome) {
          active--;
          if (outcome.call.heldAs !== undefined) return measureHeld(outcome);
          const { code, duration } = outcome;
          (byCode.get(code) ?? addCode(code)).observe(duration / 1000);
        },
      };
    },
    watchCallers: (names) => countCallers(registry, names),
  };
}

function countCallers(registry: Registry, names: ReadonlySet<string>): ListenToCalls {
  const counts = new Map<string, { calls: number }>();
  const add = (name: string) => {
    const count = { calls: 0 };
    counts.set(name, count);
    return count;
  };
  add("");
  new Counter({
    name: "rpc_server_caller_calls",
    help: "Calls by the name of the caller's token. Calls without a known token have an empty name.",
    labelNames: ["caller"],
    registers: [registry],
    collect() {
      for (const name of names) if (!counts.has(name)) add(name);
      this.reset();
      for (const [caller, { calls }] of counts) this.inc({ caller }, calls);
    },
  });
  return () => ({
    ended({ call: { caller = "" } }) {
      (counts.get(caller) ?? add(caller)).calls++;
    },
  });
}
