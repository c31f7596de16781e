import { expect, test, vi } from "vitest";
import { Call } from "../../src/status/call.ts";
import { logCalls } from "../../src/telemetry/call-log.ts";
import { createLog } from "../../src/telemetry/log.ts";

function logged(): { lines: Record<string, unknown>[]; log: ReturnType<typeof createLog> } {
  const lines: Record<string, unknown>[] = [];
  return { lines, log: createLog("info", { write: (line) => void lines.push(JSON.parse(line)) }) };
}

const call = Object.assign(new Call(), { requestId: "r1", caller: "alice", peer: "127.0.0.1" });
const fault = new Error("it broke");

test("a call that fails by the service's fault is logged with its id; one that fails by its caller's is not", () => {
  const { lines, log } = logged();
  const listener = logCalls(log, false)("rest", "S/M");
  listener.ended?.({ code: "NOT_FOUND", duration: 1, call, fault: undefined });
  listener.ended?.({ code: "OK", duration: 1, call, fault: undefined });
  listener.ended?.({ code: "UNAVAILABLE", duration: 1.23456, call, fault });
  expect(lines).toMatchObject([
    {
      msg: "call failed",
      protocol: "rest",
      method: "S/M",
      code: "UNAVAILABLE",
      duration_ms: 1.235,
      requestId: "r1",
      caller: "alice",
      peer: "127.0.0.1",
    },
  ]);
});

test("of many failures in a second the first ten are logged, the others counted, and none forgotten", () => {
  vi.useFakeTimers();
  try {
    const { lines, log } = logged();
    const listener = logCalls(log, false)("grpc", "S/M");
    const outcome = { code: "UNAVAILABLE", duration: 1, call, fault };
    for (let i = 0; i < 25; i++) listener.ended?.(outcome);
    expect(lines).toHaveLength(10);
    vi.advanceTimersByTime(1_000);
    expect(lines.slice(10)).toMatchObject([{ msg: "more calls failed", count: 15 }]);
    listener.ended?.(outcome);
    expect(lines).toHaveLength(12);
  } finally {
    vi.useRealTimers();
  }
});

test("an error is logged with its causes, but without what PostgreSQL tells of statements and rows", () => {
  const { lines, log } = logged();
  const cause = Object.assign(new Error("duplicate key"), {
    code: "23505",
    detail: "Key (secret)=(hunter2)",
    where: "SQL",
  });
  log.error({ err: new Error("it broke", { cause }) }, "oops");
  expect(lines[0]).toMatchObject({
    err: { message: "it broke", cause: { message: "duplicate key", code: "23505" } },
  });
  expect(JSON.stringify(lines)).not.toMatch(/hunter2|"where"/);
});

test("a message of PostgreSQL's that may quote a row is not shown, nor are its further lines", () => {
  const { lines, log } = logged();
  const message = 'invalid input syntax for type integer: "hunter2\nhunter3"';
  log.error({ err: Object.assign(new Error(message), { code: "22P02", severity: "ERROR" }) }, "oops");
  log.error({ err: new Error("two\nhunter4") }, "oops");
  expect(lines[0]).toMatchObject({ err: { code: "22P02", message: "not shown, since it may quote a row" } });
  expect(lines[1]).toMatchObject({
    err: { message: "two\nhunter4", stack: expect.stringMatching(/^ {4}at /) },
  });
  expect(JSON.stringify(lines[0])).not.toContain("hunter");
});
