import { afterEach, beforeEach, expect, test, vi } from "vitest";
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
