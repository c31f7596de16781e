import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createAdmission } from "../../src/status/admission.ts";

/** The event loop as it is said to be, in milliseconds. */
let idle: number;
let active: number;

beforeEach(() => {
  idle = 0;
  active = 0;
  const { eventLoopUtilization } = performance;
  vi.spyOn(performance, "now").mockImplementation(() => idle + active);
  vi.spyOn(performance, "eventLoopUtilization").mockImplementation((now, before) =>
    now === undefined ? { idle, active, utilization: 0 } : eventLoopUtilization(now, before),
  );
});

afterEach(() => vi.restoreAllMocks());

const open = () => createAdmission({ maxInFlight: 10, maxWhenBusy: 4 });

/** The event loop has no rest, for as long as it takes until that is believed. */
function beBusy(admission: ReturnType<typeof open>): void {
  const shed: (string | undefined)[] = [];
  for (let call = 0; call < 4; call++) shed.push(admission.enter(1));
  for (let look = 0; look < 2; look++) {
    active += 100;
    shed.push(admission.enter(1));
  }
  for (const limit of shed) if (limit === undefined) admission.leave(1);
}

/** @returns how many of twenty calls are let in, one after the other, none of which leaves. */
function letIn(admission: ReturnType<typeof open>): number {
  return Array.from({ length: 20 }, () => admission.enter(1)).filter((limit) => limit === undefined).length;
}

test("an event loop that has rest lets in as many as may be in flight", () => {
  const admission = open();
  idle += 300;
  active += 200;
  expect(letIn(admission)).toBe(10);
});

test("a busy one lets in no more than when it is busy, and the more as others leave", () => {
  const admission = open();
  beBusy(admission);
  expect(letIn(admission)).toBe(4);
  admission.leave(1);
  expect(letIn(admission)).toBe(1);
});

test("a burst after a quiet time is let in, and what goes on after it is not", () => {
  const admission = open();
  idle += 10_000;
  active += 50;
  expect(letIn(admission)).toBe(10);
  for (let call = 0; call < 10; call++) admission.leave(1);
  beBusy(admission);
  expect(letIn(admission)).toBe(4);
});

test("a spike while many wait for the database sheds no call", () => {
  const admission = open();
  idle += 1_000;
  for (let call = 0; call < 5; call++) expect(admission.enter(1)).toBe(undefined);
  active += 100;
  expect(letIn(admission)).toBe(5);
});

test("a busy time that is over is over for new calls, too", () => {
  const admission = open();
  beBusy(admission);
  expect(letIn(admission)).toBe(4);
  idle += 90;
  active += 10;
  expect(letIn(admission)).toBe(6);
});

/** Each lets in as many calls as may be in flight, and takes 90 ms. @returns how many calls of the last one are let in. */
function burstAgainAndAgain(admission: ReturnType<typeof open>, pause: number): number {
  let letInLast = 0;
  for (let burst = 0; burst < 6; burst++) {
    letInLast = letIn(admission);
    active += 90;
    for (let call = 0; call < letInLast; call++) admission.leave(1);
    idle += pause;
  }
  return letInLast;
}

test("bursts that leave the event loop a fifth of its time are let in whole, and those that leave less are one", () => {
  expect(burstAgainAndAgain(open(), 30)).toBe(10);
  expect(burstAgainAndAgain(open(), 15)).toBe(4);
});

describe("batches", () => {
  const enterBatch = (admission: ReturnType<typeof open>, weight: number) => admission.enter(weight, true);

  test("take at most half of what may be in flight, together", () => {
    const admission = open();
    idle += 1_000;
    expect([2, 2, 2, 1, 1].map((weight) => enterBatch(admission, weight))).toEqual([
      undefined,
      undefined,
      "MAX_IN_FLIGHT",
      undefined,
      "MAX_IN_FLIGHT",
    ]);
    expect(letIn(admission)).toBe(5);
    admission.leave(2, true);
    expect(enterBatch(admission, 2)).toBe(undefined);
  });

  test("take at most half of what may be in flight when busy", () => {
    const admission = open();
    beBusy(admission);
    expect([1, 1, 1].map((weight) => enterBatch(admission, weight))).toEqual([
      undefined,
      undefined,
      "MAX_WHEN_BUSY",
    ]);
    expect(letIn(admission)).toBe(2);
  });

  test.for([
    5, 32,
  ])("of weight %d: the only one is admitted among as many others as may be in flight", (weight) => {
    const admission = open();
    beBusy(admission);
    expect(letIn(admission)).toBe(4);
    expect(enterBatch(admission, weight)).toBe(undefined);
    expect(enterBatch(admission, 1)).toBe("MAX_IN_FLIGHT");
    admission.leave(weight, true);
    expect(enterBatch(admission, 1)).toBe(undefined);
  });

  test("of any weight leave the other half to others, busy or not", () => {
    const admission = open();
    idle += 1_000;
    expect(enterBatch(admission, 32)).toBe(undefined);
    expect(letIn(admission)).toBe(5);
    const busy = open();
    beBusy(busy);
    expect(enterBatch(busy, 32)).toBe(undefined);
    expect(letIn(busy)).toBe(2);
  });
});
