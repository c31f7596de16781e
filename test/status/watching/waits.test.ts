import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createAdmission } from "../../../src/status/admission.ts";
import { answerNow, Call, callerGone } from "../../../src/status/call.ts";
import { goingAway, overloaded, unreadableStatus } from "../../../src/status/errors.ts";
import { parseReqId } from "../../../src/status/req-id.ts";
import { createWatching, type Watching } from "../../../src/status/watching/watching.ts";
import { createdAt, FakeStore } from "./fake-store.ts";

let store: FakeStore;
let watching: Watching;
let lags: number[];

function open(
  limits: { maxInFlight?: number; maxWatched?: number; maxWatchedPairs?: number } = {},
): Watching {
  const { maxInFlight = 100, maxWatched = 100, maxWatchedPairs = 100 } = limits;
  return createWatching(store, {
    admission: createAdmission({ maxInFlight, maxWhenBusy: maxInFlight }),
    maxWait: 30_000,
    maxWatched,
    maxWatchedPairs,
    requestTimeout: 2_000,
    metrics: { watchIds() {}, tick() {}, written: (lag) => void lags.push(lag) },
  });
}

beforeEach(() => {
  vi.useFakeTimers();
  store = new FakeStore();
  lags = [];
  watching = open();
});

afterEach(() => {
  watching[Symbol.dispose]();
  vi.useRealTimers();
});

/** What became of a wait, without waiting for it. */
function begin(reqId = store.add("pending"), wait = 10_000, call = new Call()) {
  const begun = { reqId, call, outcome: undefined as unknown };
  watching.wait(reqId, wait, call).then(
    (status) => {
      begun.outcome = status?.status ?? "none";
    },
    (reason: unknown) => {
      begun.outcome = reason;
    },
  );
  return begun;
}

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

test.for([
  "success",
  "failure",
] as const)("a status that is %s already is answered at once", async (state) => {
  const wait = begin(store.add(state));
  await pass(0);
  expect([wait.outcome, wait.call.heldOutcome, store.reads.length]).toEqual([state, "final", 1]);
});

test("an unknown id is answered at once", async () => {
  const wait = begin(parseReqId(randomUUID()));
  await pass(0);
  expect([wait.outcome, wait.call.heldOutcome]).toEqual(["none", "gone"]);
});

test.for([
  "success",
  "failure",
] as const)("a change to %s ends the wait with the next tick", async (state) => {
  const wait = begin();
  await pass(1_000);
  expect(wait.outcome).toBe(undefined);
  store.set(wait.reqId, state);
  await pass(275);
  expect([wait.outcome, wait.call.heldOutcome]).toEqual([state, "final"]);
  expect(lags).toHaveLength(1);
});

test("a change to processing does not end the wait", async () => {
  const wait = begin();
  await pass(1_000);
  store.set(wait.reqId, "processing");
  await pass(1_000);
  expect(wait.outcome).toBe(undefined);
});

test("when the wait is over, the answer is the status as it is then, by a read of its own", async () => {
  const wait = begin(store.add("pending", { age: 3_600_000 }), 1_000);
  await pass(900);
  const before = store.reads.length;
  store.set(wait.reqId, "processing");
  await pass(100);
  expect([wait.outcome, wait.call.heldOutcome, store.reads.length]).toEqual([
    "processing",
    "time over",
    before + 1,
  ]);
});

test("a wait never lasts longer than was asked for, than MAX_WAIT, and than leaves time before the caller's deadline", async () => {
  const asked = begin(undefined, 1_000);
  const capped = begin(undefined, 3_600_000);
  const inTime = begin(undefined, 30_000, new Call(performance.now() + 10_000));
  const hasty = begin(undefined, 30_000, new Call(performance.now() + 300));
  const late = begin(undefined, 30_000, new Call(performance.now() + 90));
  await pass(0);
  expect(late.outcome).toBe("pending");
  await pass(200);
  expect(hasty.outcome).toBe("pending");
  await pass(770);
  expect(asked.outcome).toBe(undefined);
  await pass(30);
  expect(asked.outcome).toBe("pending");
  await pass(8_500);
  expect(inTime.outcome).toBe("pending");
  await pass(19_800);
  expect(capped.outcome).toBe(undefined);
  await pass(700);
  expect(capped.outcome).toBe("pending");
});

test("waits that end at about the same time end together: the store reads them with one statement", async () => {
  const ends = new Set<number>();
  for (let begun = 0; begun < 20; begun++) {
    const reqId = store.add("pending", { age: 3_600_000 });
    void watching.wait(reqId, 10_000, new Call()).then(() => ends.add(performance.now()));
    await pass(3);
  }
  await pass(10_000);
  // The jitter of ten seconds, and the time in which they began, are 260 ms.
  expect(ends.size).toBeGreaterThan(0);
  expect(ends.size).toBeLessThan(6);
});

test("a status that is gone meanwhile ends the wait", async () => {
  const wait = begin();
  await pass(500);
  store.rows.delete(wait.reqId);
  await pass(275);
  expect([wait.outcome, wait.call.heldOutcome]).toEqual(["none", "gone"]);
});

test("a database that cannot be asked at the start fails the call at once", async () => {
  store.isDown = true;
  const wait = begin();
  await pass(0);
  expect(wait.outcome).toMatchObject({ reason: "DATASTORE_UNAVAILABLE" });
});

test("a database that cannot be asked midway is waited for", async () => {
  const wait = begin();
  await pass(500);
  store.isDown = true;
  await pass(5_000);
  expect(wait.outcome).toBe(undefined);
  store.isDown = false;
  store.set(wait.reqId, "success");
  await pass(1_275);
  expect(wait.outcome).toBe("success");
});

test("when the last read fails, a status read within the last second is answered, and none that is older", async () => {
  const recent = begin(undefined, 1_000);
  await pass(900);
  store.isDown = true;
  await pass(100);
  expect(recent.outcome).toBe("pending");
  store.isDown = false;
  const older = begin(undefined, 5_000);
  await pass(1_000);
  store.isDown = true;
  await pass(4_000);
  expect(older.outcome).toMatchObject({ reason: "DATASTORE_UNAVAILABLE" });
});

test("the last read is answered before the caller's deadline, also when the database hangs", async () => {
  const call = new Call(performance.now() + 1_000);
  const wait = begin(undefined, 30_000, call);
  await pass(850);
  const deadlines: number[] = [];
  vi.spyOn(store, "poll").mockImplementation((_, { deadline }) => {
    deadlines.push(deadline);
    return Promise.resolve(new Map([[wait.reqId, undefined]]));
  });
  await pass(150);
  for (const deadline of deadlines) expect(deadline).toBeLessThan(call.deadline);
  expect(deadlines).not.toHaveLength(0);
});

test("a row that cannot be decoded fails a wait at its start, and at its end", async () => {
  const error = unreadableStatus(new Error("odd"));
  const atStart = store.add("pending");
  store.rows.set(atStart, error);
  const first = begin(atStart);
  await pass(0);
  expect(first.outcome).toBe(error);
  const second = begin(undefined, 2_000);
  await pass(500);
  store.rows.set(second.reqId, error);
  await pass(500);
  expect(second.outcome).toBe(undefined);
  await pass(1_000);
  expect(second.outcome).toBe(error);
});

test.for([
  ["is to answer now", answerNow, "cancelled"],
  ["is on a connection that is too old", goingAway, "drained"],
] as const)("a call that %s is answered with the status as it is", async ([, reason, outcome]) => {
  const wait = begin(store.add("pending", { age: 3_600_000 }));
  await pass(300);
  store.set(wait.reqId, "processing");
  wait.call.cancel(reason);
  await pass(0);
  expect([wait.outcome, wait.call.heldOutcome]).toEqual(["processing", outcome]);
});

test("a call that is to answer now before it has read anything is answered with its first read", async () => {
  const open = Promise.withResolvers<void>();
  store.gate = open.promise;
  const wait = begin();
  wait.call.cancel(answerNow);
  open.resolve();
  await pass(0);
  expect(wait.outcome).toBe("pending");
});

test("a caller that has gone ends the wait, and nothing is read any more", async () => {
  const wait = begin();
  await pass(600);
  const before = store.reads.length;
  wait.call.cancel(callerGone);
  await pass(60_000);
  expect([wait.outcome, store.reads.length]).toEqual([callerGone, before]);
});

test("on drain, waits end one after the other with the status as it is, and new ones at once", async () => {
  const waits = Array.from({ length: 20 }, () => begin());
  await pass(300);
  watching.drain(7_000);
  await pass(3_500);
  const ended = waits.filter(({ outcome }) => outcome !== undefined).length;
  expect(ended).toBeGreaterThan(0);
  expect(ended).toBeLessThan(20);
  const late = begin();
  await pass(0);
  expect([late.outcome, late.call.heldOutcome]).toEqual(["pending", "drained"]);
  await pass(3_500);
  for (const { outcome, call } of waits) expect([outcome, call.heldOutcome]).toEqual(["pending", "drained"]);
});

test("the first read is admitted as a call is, and a call that waits takes no place", async () => {
  watching = open({ maxInFlight: 1 });
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  const first = begin();
  const shed = begin();
  await pass(0);
  expect(shed.outcome).toBe(overloaded("MAX_IN_FLIGHT"));
  gate.resolve();
  await pass(0);
  expect(first.outcome).toBe(undefined);
  const next = begin();
  await pass(0);
  expect(next.outcome).toBe(undefined);
});

test.for([
  ["MAX_WATCHED", { maxWatched: 2 }],
  ["MAX_WATCHED_PAIRS", { maxWatchedPairs: 2 }],
] as const)("beyond %s a call is shed, until one ends", async ([limit, limits]) => {
  watching = open(limits);
  const [first] = [begin(), begin()];
  await pass(0);
  const before = store.reads.length;
  const shed = begin();
  await pass(0);
  expect([shed.outcome, shed.call.heldOutcome, store.reads.length]).toEqual([
    overloaded(limit),
    limit,
    before,
  ]);
  first?.call.cancel(callerGone);
  await pass(0);
  const next = begin();
  await pass(0);
  expect(next.outcome).toBe(undefined);
});

test("a stale pending of an earlier attempt does not end what is known", async () => {
  const wait = begin(store.add("processing"), 1_000);
  await pass(300);
  store.set(wait.reqId, "pending", { createdAt: new Date(createdAt.getTime() - 1_000) });
  await pass(1_000);
  expect(wait.outcome).toBe("processing");
});
