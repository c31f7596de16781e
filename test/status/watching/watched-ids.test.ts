import fc from "fast-check";
import { expect, test } from "vitest";
import { parseReqId, type ReqId } from "../../../src/status/req-id.ts";
import { type Subscription, WatchedIds, type Watcher } from "../../../src/status/watching/watched-ids.ts";

const watcherOf = (caller?: string): Watcher => ({ caller, read() {}, unreadable() {} });
const idOf = (number: number) =>
  parseReqId(`00000000-0000-4000-8000-${number.toString(16).padStart(12, "0")}`);
const open = (maxWatched: number, maxWatchedPairs: number) => new WatchedIds({ maxWatched, maxWatchedPairs });

test("it holds the ids that are watched, whatever was added and removed before", () => {
  const actions = fc.array(fc.tuple(fc.nat(40), fc.boolean()), { maxLength: 400 });
  fc.assert(
    fc.property(actions, (steps) => {
      const ids = open(1_000, 1_000);
      const expected = new Map<ReqId, Subscription[]>();
      for (const [number, isAdded] of steps) {
        // Ids whose beginnings and ends are alike share a chain.
        const reqId = idOf(number * 0x1000_0000);
        const subscriptions = expected.get(reqId) ?? [];
        if (isAdded) expected.set(reqId, [...subscriptions, ids.watch(reqId, watcherOf(), 0)]);
        else {
          subscriptions.shift()?.cancel();
          if (subscriptions.length === 0) expected.delete(reqId);
        }
      }
      expect(ids.all.map(({ reqId }) => reqId).sort()).toEqual([...expected.keys()].sort());
      for (const { reqId, watchers } of ids.all) expect(watchers.size).toBe(expected.get(reqId)?.length);
    }),
    { seed: 17, numRuns: 200 },
  );
});

test("a subscription that is cancelled twice is cancelled once", () => {
  const ids = open(10, 10);
  const [first] = [ids.watch(idOf(1), watcherOf(), 0), ids.watch(idOf(1), watcherOf(), 0)];
  first.cancel();
  first.cancel();
  expect(ids.all[0]?.watchers.size).toBe(1);
});

test("ids that are watched already do not count against MAX_WATCHED, but against MAX_WATCHED_PAIRS", () => {
  const ids = open(2, 3);
  ids.watch(idOf(1), watcherOf(), 0);
  ids.watch(idOf(2), watcherOf(), 0);
  expect(ids.limitOf([idOf(3)], undefined)).toBe("MAX_WATCHED");
  expect(ids.limitOf([idOf(1)], undefined)).toBe(undefined);
  ids.watch(idOf(1), watcherOf(), 0);
  expect(ids.limitOf([idOf(1)], undefined)).toBe("MAX_WATCHED_PAIRS");
  expect(ids.limitOf([], undefined)).toBe(undefined);
});

test("a token gets at most half of each limit, and at least one", () => {
  const ids = open(4, 10);
  for (const number of [1, 2]) ids.watch(idOf(number), watcherOf("alice"), 0);
  expect(ids.limitOf([idOf(3)], "alice")).toBe("MAX_WATCHED");
  expect(ids.limitOf([idOf(3)], "bob")).toBe(undefined);
  for (let pair = 2; pair < 5; pair++) ids.watch(idOf(1), watcherOf("alice"), 0);
  expect(ids.limitOf([idOf(1)], "alice")).toBe("MAX_WATCHED_PAIRS");
  expect(ids.limitOf([idOf(1)], "bob")).toBe(undefined);
  expect(open(1, 1).limitOf([idOf(1)], "alice")).toBe(undefined);
});

test("an id counts for the token that has watched it longest, and for the next one once that has ended", () => {
  const ids = open(2, 10);
  const ofAlice = ids.watch(idOf(1), watcherOf("alice"), 0);
  ids.watch(idOf(1), watcherOf("bob"), 0);
  expect(ids.limitOf([idOf(2)], "bob")).toBe(undefined);
  ofAlice.cancel();
  expect(ids.limitOf([idOf(2)], "bob")).toBe("MAX_WATCHED");
  expect(ids.limitOf([idOf(2)], "alice")).toBe(undefined);
});
