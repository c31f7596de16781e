import pg from "pg";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createBreaker } from "../src/store/breaker.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  expect(vi.getTimerCount(), "timers left behind").toBe(0);
  vi.useRealTimers();
});

const refused = new Error("connect ECONNREFUSED");
const queryError = Object.assign(new pg.DatabaseError("canceling statement", 0, "error"), {
  severity: "ERROR",
  code: "57014",
});

/** A breaker, and a database whose answers to its probes the test gives. */
function fixture() {
  const database = { answer: () => Promise.reject<void>(refused) };
  const probe = vi.fn(() => database.answer());
  const onChange = vi.fn<(cause: unknown) => void>();
  return { database, probe, onChange, breaker: createBreaker({ probe, onChange }) };
}

/** A statement that began now and takes so long, in milliseconds. @returns when it began. */
function statement(took: number): number {
  const startedAt = performance.now();
  vi.advanceTimersByTime(took);
  return startedAt;
}

test("a connection that cannot be had opens it, the first probe that is answered closes it", async () => {
  const { breaker, database, probe, onChange } = fixture();
  breaker.failed(refused, statement(5));
  expect(breaker.refusal).toMatchObject({ reason: "DATASTORE_UNAVAILABLE", cause: refused });
  await vi.advanceTimersByTimeAsync(2_000);
  expect(probe.mock.calls.length).toBeGreaterThanOrEqual(6);
  expect(probe.mock.calls.length).toBeLessThanOrEqual(13);
  database.answer = () => Promise.resolve();
  await vi.advanceTimersByTimeAsync(400);
  expect(breaker.refusal).toBeUndefined();
  expect(onChange.mock.calls).toEqual([[refused], [undefined]]);
});

test("a probe that is left without an answer holds up no other, and few are under way at a time", async () => {
  const { breaker, database, probe } = fixture();
  database.answer = () => new Promise(() => {});
  breaker.failed(refused, statement(5));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(probe).toHaveBeenCalledTimes(4);

  const another = fixture();
  another.database.answer = () => new Promise(() => {});
  another.breaker.failed(refused, statement(5));
  await vi.advanceTimersByTimeAsync(150);
  another.database.answer = () => Promise.resolve();
  await vi.advanceTimersByTimeAsync(320);
  expect(another.breaker.refusal).toBeUndefined();
  breaker[Symbol.dispose]();
});

test("a database that answers with an error is there", async () => {
  const { breaker, database } = fixture();
  breaker.failed(queryError, statement(5));
  expect(breaker.refusal).toBeUndefined();
  breaker.failed(refused, statement(5));
  database.answer = () => Promise.reject(queryError);
  await vi.advanceTimersByTimeAsync(100);
  expect(breaker.refusal).toBeUndefined();
});

test("it stays closed while others are answered", () => {
  const { breaker } = fixture();
  const startedAt = statement(5);
  breaker.answered();
  breaker.failed(refused, startedAt);
  expect(breaker.refusal).toBeUndefined();
});

test("one slow statement does not open it, nor do many that nobody waited for", () => {
  const { breaker } = fixture();
  breaker.abandoned(statement(10_000));
  expect(breaker.refusal).toBeUndefined();
  breaker.answered();
  for (let i = 0; i < 100; i++) breaker.abandoned(statement(1));
  expect(breaker.refusal).toBeUndefined();
});

test("statements that wait in vain, one after the other, open it", () => {
  const { breaker } = fixture();
  for (const took of [1_500, 400]) breaker.abandoned(statement(took));
  expect(breaker.refusal).toBeUndefined();
  breaker.abandoned(statement(100));
  expect(breaker.refusal).toBeDefined();
  breaker[Symbol.dispose]();
});

test("somebody else's answer closes it, and it probes no more", async () => {
  const { breaker, probe } = fixture();
  breaker.failed(refused, statement(5));
  breaker.answered();
  expect(breaker.refusal).toBeUndefined();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(probe).not.toHaveBeenCalled();
});
