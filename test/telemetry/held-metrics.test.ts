import { expect, test } from "vitest";
import { answerNow, Call, callerGone, type HeldKind, type HeldOutcome } from "../../src/status/call.ts";
import { goingAway, unauthenticated } from "../../src/status/errors.ts";
import { observeCalls } from "../../src/telemetry/calls.ts";
import { createMetrics } from "../../src/telemetry/metrics/metrics.ts";
import { metricValue } from "../support/metric.ts";

interface Ended {
  readonly heldAs: HeldKind;
  /** What held the call has noted. */
  readonly heldOutcome?: HeldOutcome;
  /** Why it was cancelled, if it was. */
  readonly reason?: unknown;
  readonly code: string;
  readonly outcome: HeldOutcome;
}

const ends: readonly Ended[] = [
  { heldAs: "wait", heldOutcome: "time over", code: "OK", outcome: "time over" },
  { heldAs: "wait", heldOutcome: "gone", code: "NOT_FOUND", outcome: "gone" },
  { heldAs: "watch", heldOutcome: "MAX_WATCHED", code: "RESOURCE_EXHAUSTED", outcome: "MAX_WATCHED" },
  { heldAs: "watch", code: "DEADLINE_EXCEEDED", outcome: "time over" },
  { heldAs: "watch", reason: callerGone, code: "CANCELLED", outcome: "cancelled" },
  { heldAs: "watch", reason: goingAway, code: "UNAVAILABLE", outcome: "drained" },
  { heldAs: "events", reason: unauthenticated, code: "UNAUTHENTICATED", outcome: "failed" },
  { heldAs: "events", code: "UNAVAILABLE", outcome: "failed" },
  { heldAs: "health", reason: answerNow, code: "OK", outcome: "cancelled" },
  { heldAs: "reflection", code: "OK", outcome: "final" },
];

test.for(ends)("a held call is measured by kind and outcome, apart from others: %j", async (end) => {
  const metrics = createMetrics("1.2.3");
  const observer = observeCalls([metrics.calls])("grpc", "package.Service/Method");
  const call = new Call();
  const observation = observer.start(call);
  call.heldAs = end.heldAs;
  call.heldOutcome = end.heldOutcome;
  if (end.reason !== undefined) call.cancel(end.reason);
  observation.end(end.code);
  observer.start(new Call()).end(end.code);

  const text = await metrics.text();
  const held = { kind: end.heldAs, outcome: end.outcome };
  expect(metricValue(text, "rpc_server_held_call_duration_seconds_count", held)).toBe(1);
  const others = { rpc_status_code: end.code };
  expect(metricValue(text, "rpc_server_call_duration_seconds_count", others)).toBe(1);
});

test("what is held, what is watched, and what the poller does", async () => {
  const metrics = createMetrics("1.2.3");
  metrics.watchHeld((kind) => (kind === "events" ? 3 : 0));
  metrics.watchIds(() => 7);
  metrics.tick({ ids: 7, rows: 5, statements: 1, isOverrun: false });
  metrics.tick({ ids: 600, rows: 600, statements: 2, isOverrun: true });
  metrics.written(250);
  const text = await metrics.text();
  const values = {
    'rpc_server_held_calls{kind="events"}': 3,
    'rpc_server_held_calls{kind="wait"}': 0,
    status_watched_ids: 7,
    status_poll_ids_count: 2,
    status_poll_ids_sum: 607,
    status_poll_rows_sum: 605,
    status_poll_statements_sum: 3,
    status_poll_overruns_total: 1,
    status_watch_lag_seconds_count: 1,
    status_watch_lag_seconds_sum: 0.25,
  };
  for (const [series, value] of Object.entries(values)) expect(text).toContain(`\n${series} ${value}\n`);
});
