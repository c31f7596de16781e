import { Gauge, type Registry } from "prom-client";
import { answerNow, type HeldKind, type HeldOutcome, heldKinds } from "../../status/call.ts";
import { goingAway } from "../../status/errors.ts";
import type { CallOutcome } from "../calls.ts";
import { Histogram, type Observations } from "./histogram.ts";

export interface HeldMetrics {
  /** @param count how many calls of a kind are held. */
  watchHeld(count: (kind: HeldKind) => number): void;
}

/** 0.1 s to 10 minutes, the longest that a watch lasts. */
const heldSeconds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

export function createHeldMetrics(registry: Registry): HeldMetrics {
  return {
    watchHeld(count) {
      new Gauge({
        name: "rpc_server_held_calls",
        help: "Calls that are held open until something changes: the calls that MAX_WAITING limits.",
        labelNames: ["kind"],
        registers: [registry],
        collect() {
          for (const kind of heldKinds) this.set({ kind }, count(kind));
        },
      });
    },
  };
}

/** @returns what measures a held call when it ends. */
export function measureHeldCalls(registry: Registry): (outcome: CallOutcome) => void {
  const durations = new Histogram(registry, {
    name: "rpc_server_held_call_duration_seconds",
    help: "Duration of held calls, by how they ended. Its count is their number.",
    buckets: heldSeconds,
  });
  const series = new Map<string, Observations>();
  return (ended) => {
    const { heldAs: kind = "" } = ended.call;
    const outcome = outcomeOf(ended);
    const key = `${kind} ${outcome}`;
    let observations = series.get(key);
    if (observations === undefined) {
      observations = durations.series({ kind, outcome });
      series.set(key, observations);
    }
    observations.observe(ended.duration / 1000);
  };
}

const outcomes: Readonly<Record<string, HeldOutcome>> = {
  OK: "final",
  CANCELLED: "cancelled",
  DEADLINE_EXCEEDED: "time over",
};

/** A call that ends otherwise than what holds it foresees has no outcome of its own. */
function outcomeOf({ call: { heldOutcome, reason }, code }: CallOutcome): HeldOutcome {
  if (heldOutcome !== undefined) return heldOutcome;
  if (reason === goingAway) return "drained";
  if (reason === answerNow) return "cancelled";
  return outcomes[code] ?? "failed";
}
