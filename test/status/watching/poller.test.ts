import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createPoller, type Poller } from "../../../src/status/watching/poller.ts";
import { type Subscription, WatchedIds, type Watcher } from "../../../src/status/watching/watched-ids.ts";
import type { Tick } from "../../../src/status/watching/watching-metrics.ts";
import { FakeStore } from "./fake-store.ts";

let store: FakeStore;
let ids: WatchedIds;
let ticks: Tick[];
let poller: Poller;

beforeEach(() => {
  vi.useFakeTimers();
  store = new FakeStore();
  ids = new WatchedIds({ maxWatched: 10_000, maxWatchedPairs: 10_000 });
  ticks = [];
  const metrics = { watchIds() {}, written() {}, tick: (tick: Tick) => void ticks.push(tick) };
  poller = createPoller(store, { ids, metrics, requestTimeout: 2_000 });
});

afterEach(() => {
  poller[Symbol.dispose]();
  vi.useRealTimers();
});

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);
const watcher: Watcher = { caller: undefined, read() {}, unreadable() {} };

function watch(age: number, count = 1): Subscription[] {
  const added = Array.from({ length: count }, () => ids.watch(store.add("pending", { age }), watcher, 0));
  poller.wake();
  return added;
}

test.for([
  ["in its first minute four times a second", 59_000, 40],
  ["until it is ten minutes old each second", 61_000, 10],
  ["then every two seconds", 601_000, 5],
] as const)("a job is read %s", async ([, age, reads]) => {
  watch(age);
  await pass(300);
  store.reads.length = 0;
  await pass(10_000);
  expect(store.reads.length).toBeGreaterThan(0.75 * reads);
  expect(store.reads.length).toBeLessThan(1.3 * reads);
});

test("while no id is watched, nothing is read, and no timer runs", async () => {
  const [subscription] = watch(0);
  await pass(1_000);
  subscription?.cancel();
  await pass(1_000);
  store.reads.length = 0;
  await pass(60_000);
  expect([store.reads.length, vi.getTimerCount()]).toEqual([0, 0]);
});

test("many ids are read 500 at a time, one read after the other", async () => {
  watch(0, 1_200);
  let running = 0;
  let most = 0;
  const { poll } = store;
  vi.spyOn(store, "poll").mockImplementation(async (...args) => {
    running++;
    most = Math.max(most, running);
    const outcomes = await poll(...args);
    running--;
    return outcomes;
  });
  await pass(275);
  expect(store.reads.map(({ length }) => length).slice(0, 3)).toEqual([500, 500, 200]);
  expect(most).toBe(1);
  expect(ticks[0]).toMatchObject({ ids: 1_200, rows: 1_200, statements: 3, isOverrun: false });
});

test("a tick begins no sooner than twice what the last one took after that began, and never beside it", async () => {
  watch(0);
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  await pass(275);
  expect(store.reads).toHaveLength(1);
  await pass(1_000);
  expect(store.reads).toHaveLength(1);
  gate.resolve();
  await pass(900);
  expect(store.reads).toHaveLength(1);
  await pass(200);
  expect(store.reads).toHaveLength(2);
  expect(ticks[0]).toMatchObject({ isOverrun: true });
});

test("an id that could not be read is asked for once a second", async () => {
  store.isDown = true;
  watch(0);
  await pass(300);
  store.reads.length = 0;
  await pass(10_000);
  expect(store.reads.length).toBeGreaterThan(7);
  expect(store.reads.length).toBeLessThan(14);
});
