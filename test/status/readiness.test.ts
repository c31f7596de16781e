import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createReadiness, type DatastoreState } from "../../src/status/readiness.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  expect(vi.getTimerCount(), "timers left behind").toBe(0);
  vi.useRealTimers();
});

/** A datastore whose answers the test gives, and what was found out about it. */
function fixture(options: { interval?: number; timeout?: number } = {}) {
  const store = { answer: (_signal: AbortSignal) => Promise.resolve<DatastoreState>("ready") };
  const probe = vi.fn((signal: AbortSignal) => store.answer(signal));
  const onChange = vi.fn<(state: DatastoreState | "not ready", cause?: unknown) => void>();
  return { store, probe, onChange, readiness: createReadiness(probe, { ...options, onChange }) };
}

const down = new Error("connection refused");
const never = () => new Promise<DatastoreState>(() => undefined);

describe("ready", () => {
  test("is ready when the datastore answers", async () => {
    const { store, readiness, onChange } = fixture();
    expect(await readiness.ready()).toBe(true);
    store.answer = () => Promise.reject(down);
    vi.advanceTimersByTime(1000);
    expect(await readiness.ready()).toBe(false);
    expect(onChange.mock.calls).toEqual([
      ["ready", undefined],
      ["not ready", down],
    ]);
  });

  test("is false when the probe throws before it returns a promise", async () => {
    const { store, readiness, onChange } = fixture();
    store.answer = () => {
      throw down;
    };
    expect(await readiness.ready()).toBe(false);
    expect(onChange).toHaveBeenCalledExactlyOnceWith("not ready", down);
  });

  test("asks at most once a second, however often it is called", async () => {
    const { probe, readiness } = fixture();
    for (let millisecond = 0; millisecond < 3000; millisecond += 50) {
      await readiness.ready();
      vi.advanceTimersByTime(50);
    }
    expect(probe).toHaveBeenCalledTimes(3);
  });

  test("concurrent callers share one attempt, however long it takes", async () => {
    const { store, probe, readiness } = fixture({ interval: 10, timeout: 1000 });
    const { promise, resolve } = Promise.withResolvers<DatastoreState>();
    store.answer = () => promise;
    const first = readiness.ready();
    vi.advanceTimersByTime(500);
    const second = readiness.ready();
    resolve("ready");
    expect(await Promise.all([first, second])).toEqual([true, true]);
    expect(probe).toHaveBeenCalledTimes(1);
  });

  test("is not ready when no answer comes in time, and aborts the probe", async () => {
    const { store, probe, readiness, onChange } = fixture({ timeout: 200 });
    store.answer = never;
    const ready = readiness.ready();
    vi.advanceTimersByTime(199);
    expect(probe.mock.lastCall?.[0].aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(await ready).toBe(false);
    expect(probe.mock.lastCall?.[0].aborted).toBe(true);
    expect(onChange).toHaveBeenCalledExactlyOnceWith(
      "not ready",
      new Error("the datastore did not answer within 200 ms"),
    );
  });

  test("keeps no timer once it has answered", async () => {
    const { readiness } = fixture();
    await readiness.ready();
    expect(vi.getTimerCount()).toBe(0);
  });
});

test("a replica in place of the primary is enough to get calls, as degraded", async () => {
  const { store, readiness, onChange } = fixture();
  store.answer = () => Promise.resolve("degraded");
  expect(await readiness.ready()).toBe(true);
  expect(await readiness.state()).toBe("degraded");
  expect(onChange).toHaveBeenCalledExactlyOnceWith("degraded", undefined);
});

test("degraded lasts no longer than it holds, however recent the last attempt is", async () => {
  const onChange = vi.fn();
  const bound = { holds: true };
  const readiness = createReadiness(() => Promise.resolve("degraded"), {
    isStillDegraded: () => bound.holds,
    onChange,
  });
  expect(await readiness.state()).toBe("degraded");
  bound.holds = false;
  expect(await readiness.state()).toBe("not ready");
  expect(onChange).toHaveBeenLastCalledWith("not ready", expect.any(Error));
});

describe("watch", () => {
  test("gives the current state, then each change, asking once a second", async () => {
    const { store, probe, readiness } = fixture();
    await using watch = watching(readiness);
    expect(await watch.next()).toBe(true);

    const second = watch.next();
    await vi.advanceTimersByTimeAsync(5000);
    expect(probe).toHaveBeenCalledTimes(6);
    store.answer = () => Promise.reject(down);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await second).toBe(false);

    const third = watch.next();
    store.answer = () => Promise.resolve("ready");
    await vi.advanceTimersByTimeAsync(1000);
    expect(await third).toBe(true);
    expect(probe).toHaveBeenCalledTimes(8);
  });

  test("from the primary to a replica and back is no change", async () => {
    const { store, readiness } = fixture();
    await using watch = watching(readiness);
    expect(await watch.next()).toBe(true);
    const second = watch.next();
    for (const state of ["degraded", "ready", "degraded"] as const) {
      store.answer = () => Promise.resolve(state);
      await vi.advanceTimersByTimeAsync(1000);
      expect(await readiness.state()).toBe(state);
    }
    store.answer = () => Promise.reject(down);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await second).toBe(false);
  });

  test("many watchers and callers cost no more than one", async () => {
    const { probe, readiness } = fixture();
    const watches = Array.from({ length: 20 }, () => watching(readiness));
    for (const watch of watches) expect(await watch.next()).toBe(true);
    const pending = watches.map((watch) => watch.next());
    for (let millisecond = 0; millisecond < 3000; millisecond += 250) {
      await readiness.ready();
      await vi.advanceTimersByTimeAsync(250);
    }
    expect(probe.mock.calls.length).toBeLessThanOrEqual(4);
    for (const watch of watches) await watch[Symbol.asyncDispose]();
    await Promise.all(pending);
  });

  test("learns of what another caller found out", async () => {
    const { store, readiness } = fixture({ interval: 0 });
    await using watch = watching(readiness);
    expect(await watch.next()).toBe(true);
    const change = watch.next();
    store.answer = () => Promise.reject(down);
    expect(await readiness.ready()).toBe(false);
    expect(await change).toBe(false);
  });

  test("a slow watcher gets the latest state, and no state twice", async () => {
    const { store, readiness } = fixture();
    await using watch = watching(readiness);
    expect(await watch.next()).toBe(true);
    store.answer = () => Promise.reject(down);
    await vi.advanceTimersByTimeAsync(1000);
    store.answer = () => Promise.resolve("ready");
    await vi.advanceTimersByTimeAsync(1000);
    const next = watch.next();
    store.answer = () => Promise.reject(down);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await next).toBe(false);
  });

  test("does not begin with a state that is out of date", async () => {
    const { store, readiness } = fixture();
    expect(await readiness.ready()).toBe(true);
    store.answer = () => Promise.reject(down);
    vi.advanceTimersByTime(60_000);
    await using watch = watching(readiness);
    expect(await watch.next()).toBe(false);
  });

  test("ends when its signal fires, and asks no more after the last has ended", async () => {
    const { probe, readiness } = fixture();
    const one = watching(readiness);
    const other = watching(readiness);
    await Promise.all([one.next(), other.next()]);
    const ends = [one.next(), other.next()];

    await one[Symbol.asyncDispose]();
    expect(await ends[0]).toBe("ended");
    await vi.advanceTimersByTimeAsync(1000);
    expect(probe).toHaveBeenCalledTimes(2);

    await other[Symbol.asyncDispose]();
    expect(await ends[1]).toBe("ended");
    expect(vi.getTimerCount()).toBe(0);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(probe).toHaveBeenCalledTimes(2);
  });

  test("a watcher that leaves its loop is removed", async () => {
    const { readiness } = fixture();
    for await (const ready of readiness.watch(new AbortController().signal)) {
      expect(ready).toBe(true);
      break;
    }
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a watcher that comes while the last one leaves does not double the pace", async () => {
    const { store, probe, readiness } = fixture();
    const gate = Promise.withResolvers<DatastoreState>();
    store.answer = () => gate.promise;
    const early = watching(readiness);
    const first = early.next();
    const left = early[Symbol.asyncDispose]();
    await using late = watching(readiness);
    const second = late.next();
    gate.resolve("ready");
    await left;
    expect(await first).toBe("ended");
    expect(await second).toBe(true);
    await vi.advanceTimersByTimeAsync(3000);
    expect(probe).toHaveBeenCalledTimes(4);
  });
});

describe("drain", () => {
  test("makes not ready at once, for good, and asks no more", async () => {
    const { probe, readiness, onChange } = fixture();
    expect(await readiness.ready()).toBe(true);
    readiness.drain();
    expect(await readiness.ready()).toBe(false);
    vi.advanceTimersByTime(5000);
    expect(await readiness.ready()).toBe(false);
    expect(probe).toHaveBeenCalledTimes(1);
    expect(onChange.mock.calls).toEqual([
      ["ready", undefined],
      ["not ready", undefined],
    ]);
  });

  test("answers those who wait for an attempt, and stops it", async () => {
    const { store, probe, readiness } = fixture();
    store.answer = never;
    const ready = readiness.ready();
    readiness.drain();
    expect(await ready).toBe(false);
    expect(probe.mock.lastCall?.[0].aborted).toBe(true);
  });

  test("is not undone by an answer that came in the same moment", async () => {
    const { store, readiness, onChange } = fixture();
    const { promise, resolve } = Promise.withResolvers<DatastoreState>();
    store.answer = () => promise;
    const ready = readiness.ready();
    resolve("ready");
    readiness.drain();
    expect(await ready).toBe(false);
    expect(onChange).toHaveBeenCalledExactlyOnceWith("not ready", undefined);
  });

  test("reaches watchers at once, and ends their watch", async () => {
    const { readiness } = fixture();
    await using watch = watching(readiness);
    expect(await watch.next()).toBe(true);
    const change = watch.next();
    readiness.drain();
    expect(await change).toBe(false);
    expect(await watch.next()).toBe("ended");
  });

  test("ends the watch of those who know already that it is not ready", async () => {
    const { store, readiness } = fixture();
    store.answer = () => Promise.reject(down);
    await using watch = watching(readiness);
    expect(await watch.next()).toBe(false);
    const end = watch.next();
    await turn();
    readiness.drain();
    expect(await end).toBe("ended");
  });

  test("a watch that begins later yields not ready and ends", async () => {
    const { probe, readiness } = fixture();
    readiness[Symbol.dispose]();
    await using watch = watching(readiness);
    expect(await watch.next()).toBe(false);
    expect(await watch.next()).toBe("ended");
    expect(probe).not.toHaveBeenCalled();
  });
});

describe("drained", () => {
  test("resolves on drain, not on a change, and asks nothing", async () => {
    const { probe, store, readiness } = fixture();
    const resolved = vi.fn();
    const drained = readiness.drained(new AbortController().signal).then(resolved);
    await turn();
    expect(probe).not.toHaveBeenCalled();
    store.answer = () => Promise.reject(down);
    await readiness.ready();
    await turn();
    expect(resolved).not.toHaveBeenCalled();
    readiness.drain();
    await drained;
    await readiness.drained(new AbortController().signal);
  });

  test("resolves when its signal fires", async () => {
    const { readiness } = fixture();
    const cancelled = new AbortController();
    const drained = readiness.drained(cancelled.signal);
    cancelled.abort();
    await drained;
  });
});

/** One watcher; disposing of it fires its signal and waits for the end. */
function watching(readiness: ReturnType<typeof createReadiness>) {
  const leave = new AbortController();
  const states = readiness.watch(leave.signal)[Symbol.asyncIterator]();
  return {
    async next(): Promise<boolean | "ended"> {
      const { done, value } = await states.next();
      return done ? "ended" : value;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      leave.abort();
      await states.return?.();
    },
  };
}
