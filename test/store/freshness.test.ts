import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { statusLifetime } from "../../src/status/status.ts";
import { createFreshness } from "../../src/store/replica/freshness.ts";

const bound = 1_000;
/** By the primary's clock, in seconds. */
const epoch = 1_800_000_000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** What the primary answers: its position and timeline, and since when it runs. */
function positionRow(written: number, timeline = 1, startedAt = "1") {
  const file = `${timeline.toString(16).padStart(8, "0")}0000000000000001`;
  return [String(written), file, startedAt, String(epoch), "cluster database table"];
}

/** What a replica answers along with the rows of a statement. */
function replicaRow(replayed: number | null, timeline = 1, startedAt = "2", isolation = "read committed") {
  return [replayed === null ? null : String(replayed), String(timeline), startedAt, isolation];
}

const row = ["id", "pending", null, "0"];

describe("check", () => {
  test("wants what the primary had written a bound ago, not what it has written since", () => {
    const freshness = createFreshness(bound);
    freshness.record(positionRow(100), performance.now());
    vi.advanceTimersByTime(600);
    freshness.record(positionRow(200), performance.now());
    expect(freshness.check([replicaRow(100), row])).toEqual([row]);
    expect(() => freshness.check([replicaRow(99), row])).toThrow("had written 1000 ms ago");
    vi.advanceTimersByTime(400);
    expect(freshness.check([replicaRow(100), row])).toEqual([row]);
    vi.advanceTimersByTime(1);
    expect(() => freshness.check([replicaRow(199), row])).toThrow("had written 1000 ms ago");
    expect(freshness.check([replicaRow(200), row])).toEqual([row]);
    vi.advanceTimersByTime(600);
    expect(() => freshness.check([replicaRow(1_000), row])).toThrow("has not reported its position");
  });

  test("counts the age from when the primary was asked, not from when it answered", () => {
    const freshness = createFreshness(bound);
    const at = performance.now();
    vi.advanceTimersByTime(800);
    freshness.record(positionRow(100), at);
    expect(freshness.check([replicaRow(100), row])).toEqual([row]);
    vi.advanceTimersByTime(201);
    expect(() => freshness.check([replicaRow(100), row])).toThrow("has not reported its position");
  });

  test("positions of a bound of hours do not pile up, and stay exact to a sixteenth", () => {
    const freshness = createFreshness(16 * bound);
    for (let written = 0; written <= 160; written++) {
      freshness.record(positionRow(written), performance.now());
      vi.advanceTimersByTime(100);
    }
    expect(freshness.check([replicaRow(10), row])).toEqual([row]);
    expect(() => freshness.check([replicaRow(0), row])).toThrow("had written 16000 ms ago");
  });

  const refused = [
    { name: "on the timeline before", row: replicaRow(900, 1), why: "on timeline 1, and the primary on 2" },
    { name: "on the next timeline", row: replicaRow(900, 3), why: "on timeline 3, and the primary on 2" },
    { name: "a primary, but another one", row: replicaRow(null, 2, "3"), why: "not the one" },
    { name: "in a snapshot of its own", row: replicaRow(900, 2, "2", "repeatable read"), why: "isolation" },
  ];
  test.for(refused)("refuses a server that is $name", ({ row: shown, why }) => {
    const freshness = createFreshness(bound);
    freshness.record(positionRow(900, 1), performance.now());
    freshness.record(positionRow(500, 2, "1"), performance.now());
    expect(freshness.check([replicaRow(500, 2), row])).toEqual([row]);
    expect(freshness.check([replicaRow(null, 2, "1"), row])).toEqual([row]);
    expect(() => freshness.check([shown, row])).toThrow(why);
  });
});

test("what has expired by the primary's clock is not live, whatever the replica's clock", () => {
  const freshness = createFreshness(bound);
  const createdAt = new Date(epoch * 1_000 - statusLifetime + 500);
  expect(freshness.isLive(createdAt)).toBe(false);
  freshness.record(positionRow(1), performance.now());
  expect(freshness.isLive(createdAt)).toBe(true);
  vi.advanceTimersByTime(500);
  expect(freshness.isLive(createdAt)).toBe(false);
});

test("a primary that reports no position, as another engine, is an error", () => {
  const freshness = createFreshness(bound);
  expect(() => freshness.record([], 0)).toThrow("does not report its position");
  expect(() => freshness.record(undefined, 0)).toThrow("does not report its position");
});
