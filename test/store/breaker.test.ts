import pg from "pg";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Breaker, createBreaker } from "../../src/store/connections/breaker.ts";
import { NotSent } from "../../src/store/connections/not-sent.ts";

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

/** A statement that begins now. @param took how long it takes, in milliseconds. @returns when it began. */
function statement(took: number): number {
  const startedAt = performance.now();
  vi.advanceTimersByTime(took);
  return startedAt;
}

test("a connection that cannot be opened opens it, the first probe that is answered closes it", async () => {
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

test("a probe that is left without an answer delays no other, and few are in flight at a time", async () => {
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

test("an error of the database is an answer", async () => {
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

/** Statements are sent and left without an answer for a duration, in milliseconds, and checked as the store does. */
async function leaveUnanswered(breaker: Breaker, duration: number): Promise<void> {
  breaker.sent();
  for (let passed = 0; passed < duration; passed += 10) {
    await vi.advanceTimersByTimeAsync(10);
    breaker.check(performance.now());
  }
}

/** A probe that is left without an answer until its time is over. */
const unanswered = () =>
  new Promise<void>((_resolve, reject) => setTimeout(() => reject(new Error("no answer in time")), 1_000));

test("statements and a probe that are left without an answer open it", async () => {
  const { breaker, database, probe } = fixture();
  database.answer = unanswered;
  await leaveUnanswered(breaker, 1_490);
  expect(probe).toHaveBeenCalledTimes(1);
  expect(breaker.refusal).toBeUndefined();
  await vi.advanceTimersByTimeAsync(20);
  expect(breaker.refusal).toBeDefined();
  breaker[Symbol.dispose]();
});

test("callers' deadlines do not open it: statements without a call tell nothing while a probe is answered", async () => {
  const { breaker, database, probe } = fixture();
  database.answer = () => Promise.resolve();
  await leaveUnanswered(breaker, 60_000);
  expect(breaker.refusal).toBeUndefined();
  expect(probe).toHaveBeenCalled();
});

test("a statement that is answered after its callers have left ends the suspicion", async () => {
  const { breaker, probe } = fixture();
  for (let n = 0; n < 50; n++) {
    await leaveUnanswered(breaker, 490);
    breaker.answered();
  }
  expect(probe).not.toHaveBeenCalled();
});

test("an answer while the probe waits keeps it closed", async () => {
  const { breaker, database } = fixture();
  database.answer = unanswered;
  await leaveUnanswered(breaker, 1_000);
  breaker.answered();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(breaker.refusal).toBeUndefined();
});

test("a probe for which there was no connection does not open it", async () => {
  const { breaker, database } = fixture();
  database.answer = () => Promise.reject(new NotSent());
  await leaveUnanswered(breaker, 10_000);
  expect(breaker.refusal).toBeUndefined();
});

test("the answer of another statement closes it, and it probes no more", async () => {
  const { breaker, probe } = fixture();
  breaker.failed(refused, statement(5));
  breaker.answered();
  expect(breaker.refusal).toBeUndefined();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(probe).not.toHaveBeenCalled();
});
