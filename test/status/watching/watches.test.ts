import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createAdmission } from "../../../src/status/admission.ts";
import { answerNow, Call, callerGone } from "../../../src/status/call.ts";
import { deadlineExceeded, goingAway, overloaded, unreadableStatus } from "../../../src/status/errors.ts";
import { parseReqId, type ReqId } from "../../../src/status/req-id.ts";
import type { WatchEvent } from "../../../src/status/watching/watch.ts";
import { createWatching, type Watching } from "../../../src/status/watching/watching.ts";
import { createdAt, FakeStore } from "./fake-store.ts";

let store: FakeStore;
let watching: Watching;

function open(limits: { maxWatched?: number; maxWatchedPairs?: number } = {}): Watching {
  const { maxWatched = 5_000, maxWatchedPairs = 5_000 } = limits;
  return createWatching(store, {
    admission: createAdmission({ maxInFlight: 100, maxWhenBusy: 100 }),
    maxWait: 30_000,
    maxWatched,
    maxWatchedPairs,
    requestTimeout: 2_000,
  });
}

beforeEach(() => {
  vi.useFakeTimers();
  store = new FakeStore();
  watching = open();
});

afterEach(() => {
  watching[Symbol.dispose]();
  vi.useRealTimers();
});

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

/** A client that takes each event as it comes, while it is not stalled. */
class Client {
  readonly call: Call;
  readonly events: WatchEvent[] = [];
  /** `ok`, or why the stream ended. Undefined: it has not. */
  end: unknown;
  #stall: PromiseWithResolvers<void> | undefined;

  constructor(reqIds: readonly ReqId[], call = new Call()) {
    this.call = call;
    void this.#run(reqIds);
  }

  async #run(reqIds: readonly ReqId[]): Promise<void> {
    try {
      for await (const event of watching.watch(reqIds, this.call)) {
        this.events.push(event);
        await this.#stall?.promise;
      }
      this.end = "ok";
    } catch (reason) {
      this.end = reason;
    }
  }

  stall(): void {
    this.#stall = Promise.withResolvers();
  }

  goOn(): void {
    this.#stall?.resolve();
    this.#stall = undefined;
  }

  /** The events in words. */
  words(reqId?: ReqId): string[] {
    const ofId = this.events.filter(
      (event) => reqId === undefined || ("reqId" in event && event.reqId === reqId),
    );
    return ofId.map((event) => (event.kind === "status" ? event.status.status : event.kind));
  }
}

test("the current state of every id comes first, each once, and what is final or unknown is over", async () => {
  const [pending, done, failed] = [store.add("pending"), store.add("success"), store.add("failure")];
  const unknown = parseReqId(randomUUID());
  const client = new Client([pending, done, failed, unknown, pending]);
  await pass(0);
  expect([pending, done, failed, unknown].map((id) => client.words(id))).toEqual([
    ["pending"],
    ["success"],
    ["failure"],
    ["gone"],
  ]);
  expect(client.events).toHaveLength(4);
  await pass(5_000);
  expect(client.events).toHaveLength(4);
  expect(store.reads.slice(1).every((ids) => ids.length === 1 && ids[0] === pending)).toBe(true);
});

test("changes follow, and the stream ends with OK when every id was reported final or gone", async () => {
  const ids = [store.add("pending"), store.add("processing"), store.add("pending")] as const;
  const client = new Client(ids);
  await pass(300);
  store.set(ids[0], "processing");
  await pass(275);
  store.set(ids[0], "success");
  store.set(ids[1], "failure");
  await pass(275);
  expect(client.end).toBe(undefined);
  store.rows.delete(ids[2]);
  await pass(275);
  expect(ids.map((id) => client.words(id))).toEqual([
    ["pending", "processing", "success"],
    ["processing", "failure"],
    ["pending", "gone"],
  ]);
  expect([client.end, client.call.heldOutcome]).toEqual(["ok", "final"]);
});

test("a stream of which every id is gone ends with OK, too", async () => {
  const client = new Client([parseReqId(randomUUID())]);
  await pass(0);
  expect([client.end, client.call.heldOutcome, client.words()]).toEqual(["ok", "gone", ["gone"]]);
});

describe("within one attempt, a status never goes backwards", () => {
  test.for([
    ["the same attempt", 0],
    ["an earlier one", -1_000],
  ] as const)("whatever a replica that is behind says of %s", async ([, offset]) => {
    const id = store.add("processing");
    const client = new Client([id]);
    await pass(300);
    store.set(id, "pending", { createdAt: new Date(createdAt.getTime() + offset) });
    await pass(500);
    store.set(id, "processing");
    await pass(500);
    store.set(id, "success");
    await pass(275);
    expect(client.words()).toEqual(["processing", "success"]);
  });

  test("and a later attempt is news", async () => {
    const id = store.add("processing");
    const client = new Client([id]);
    await pass(300);
    store.set(id, "pending", { createdAt: new Date(createdAt.getTime() + 1_000) });
    await pass(275);
    expect(client.words()).toEqual(["processing", "pending"]);
  });
});

test("two watches of one id get the same, and cost one read", async () => {
  const id = store.add("pending");
  const clients = [new Client([id]), new Client([id])];
  await pass(300);
  const before = store.reads.length;
  await pass(275);
  expect(store.reads.length - before).toBeLessThanOrEqual(2);
  expect(store.reads.at(-1)).toEqual([id]);
  store.set(id, "success");
  await pass(275);
  for (const client of clients) expect([client.words(), client.end]).toEqual([["pending", "success"], "ok"]);
});

test("a watch that joins with newer knowledge than the poller has does not lose the next change", async () => {
  const id = store.add("pending", { age: 3_600_000 });
  const first = new Client([id]);
  await pass(100);
  store.set(id, "processing", { age: 3_600_000 });
  const second = new Client([id]);
  await pass(2_500);
  expect([first.words(), second.words()]).toEqual([["pending", "processing"], ["processing"]]);
  store.set(id, "success");
  await pass(2_500);
  expect([first.end, second.end]).toEqual(["ok", "ok"]);
});

test("after 15 seconds without an event there is a heartbeat, with the time at which the database answered", async () => {
  const client = new Client([store.add("pending")]);
  await pass(16_000);
  expect(client.words()).toEqual(["pending", "heartbeat"]);
  const [, heartbeat] = client.events;
  const answeredAt = heartbeat?.kind === "heartbeat" ? heartbeat.datastoreAnsweredAt.getTime() : 0;
  expect(Date.now() - answeredAt).toBeLessThan(2_000);
  store.isDown = true;
  await pass(15_500);
  const [, , late] = client.events;
  const lastAnswer = late?.kind === "heartbeat" ? late.datastoreAnsweredAt.getTime() : 0;
  expect(Date.now() - lastAnswer).toBeGreaterThan(10_000);
});

test("when nothing was read for 30 seconds, the stream ends with DATASTORE_UNAVAILABLE", async () => {
  const client = new Client([store.add("pending"), store.add("success")]);
  await pass(1_000);
  store.isDown = true;
  await pass(28_000);
  expect(client.end).toBe(undefined);
  await pass(3_000);
  expect(client.end).toMatchObject({ reason: "DATASTORE_UNAVAILABLE" });
});

test("a database that comes back in time costs nothing but time", async () => {
  const id = store.add("pending");
  const client = new Client([id]);
  await pass(1_000);
  store.isDown = true;
  await pass(25_000);
  store.isDown = false;
  store.set(id, "success");
  await pass(1_275);
  expect([client.words().at(-1), client.end]).toEqual(["success", "ok"]);
});

test("a database that cannot be asked at the start fails the call at once", async () => {
  store.isDown = true;
  const client = new Client([store.add("pending")]);
  await pass(0);
  expect(client.end).toMatchObject({ reason: "DATASTORE_UNAVAILABLE" });
});

test.for([
  { name: "the time of a read", deadline: Number.POSITIVE_INFINITY, reason: "DATASTORE_UNAVAILABLE" },
  { name: "the deadline of the call", deadline: 0, reason: "DEADLINE_EXCEEDED" },
])("when $name passes at the start, the call fails with $reason", async ({ deadline, reason }) => {
  const id = store.add("pending");
  store.rows.set(id, deadlineExceeded());
  const client = new Client([id], new Call(deadline));
  await pass(0);
  expect(client.end).toMatchObject({ reason });
});

test("ids whose rows cannot be decoded fail the stream once no others are left", async () => {
  const [odd, fine] = [store.add("pending"), store.add("pending")];
  const error = unreadableStatus(new Error("odd"));
  store.rows.set(odd, error);
  const client = new Client([odd, fine]);
  await pass(1_000);
  expect(client.end).toBe(undefined);
  store.set(fine, "success");
  await pass(275);
  expect([client.words(), client.end]).toEqual([["pending", "success"], error]);
});

test("an old stream, and one on drain, end with GOING_AWAY, each at a time of its own", async () => {
  const old = Array.from({ length: 10 }, () => new Client([store.add("pending", { age: 3_600_000 })]));
  await pass(479_000);
  expect(old.map(({ end }) => end)).toEqual(Array(10).fill(undefined));
  await pass(60_000);
  expect(old.some(({ end }) => end === undefined)).toBe(true);
  await pass(62_000);
  for (const { end, call } of old) expect([end, call.heldOutcome]).toEqual([goingAway, "drained"]);

  const young = Array.from({ length: 20 }, () => new Client([store.add("pending")]));
  await pass(1_000);
  watching.drain(7_000);
  await pass(3_500);
  const ended = young.filter(({ end }) => end === goingAway).length;
  expect([ended > 0, ended < 20]).toEqual([true, true]);
  await pass(3_500);
  for (const { end } of young) expect(end).toBe(goingAway);
  const late = new Client([store.add("pending")]);
  await pass(0);
  expect(late.end).toBe(goingAway);
});

test("a caller that has gone ends the watch, and nothing is read any more", async () => {
  const client = new Client([store.add("pending")]);
  await pass(600);
  const before = store.reads.length;
  client.call.cancel(callerGone);
  await pass(60_000);
  expect([client.end, store.reads.length]).toEqual([callerGone, before]);
});

test("a call that is to answer now gets the current states, and then the end", async () => {
  const gate = Promise.withResolvers<void>();
  store.gate = gate.promise;
  const client = new Client([store.add("pending"), store.add("success")]);
  client.call.cancel(answerNow);
  gate.resolve();
  await pass(0);
  expect([client.words().sort(), client.end]).toEqual([["pending", "success"], "ok"]);
});

describe("a client that does not take its events", () => {
  test("gets the newest state of each id alone, and holds up no other", async () => {
    const id = store.add("pending");
    const [slow, fast] = [new Client([id]), new Client([id])];
    slow.stall();
    await pass(300);
    store.set(id, "processing");
    await pass(275);
    store.set(id, "success");
    await pass(275);
    expect([fast.words(), fast.end]).toEqual([["pending", "processing", "success"], "ok"]);
    slow.goOn();
    await pass(0);
    expect([slow.words(), slow.end]).toEqual([["pending", "success"], "ok"]);
  });

  test("for 30 seconds, is sent away with SLOW_CONSUMER", async () => {
    const id = store.add("pending");
    const call = new Call();
    const cancelled = new Promise((resolve) => call.attach({ cancel: resolve }));
    const client = new Client([id], call);
    client.stall();
    await pass(29_000);
    expect(call.cancelled).toBe(false);
    await pass(2_000);
    expect(await cancelled).toMatchObject({ reason: "SLOW_CONSUMER" });
    client.goOn();
    await pass(0);
    expect(client.end).toMatchObject({ reason: "SLOW_CONSUMER" });
  });

  test("but for less than fills a buffer, is sent away as well, unless it takes some of it now and then", async () => {
    const clients = [new Client([store.add("pending")]), new Client([store.add("pending")])] as const;
    await pass(0);
    const [idle, slow] = clients;
    const [kept, taken] = [{ writableLength: 1_000 }, { writableLength: 1_000 }];
    idle.call.carrier = kept;
    slow.call.carrier = taken;
    for (let second = 0; second < 32; second++) {
      taken.writableLength -= 1;
      await pass(1_000);
    }
    expect(idle.end).toMatchObject({ reason: "SLOW_CONSUMER" });
    expect(slow.end).toBe(undefined);
  });

  test("costs at most 256 KiB of errors: what is beyond is read again once it is taken", async () => {
    const error = "x".repeat(16_384);
    const ids = Array.from({ length: 40 }, () => store.add("pending"));
    const client = new Client(ids);
    client.stall();
    await pass(300);
    for (const id of ids) store.set(id, "failure", { error });
    await pass(275);
    const before = store.reads.length;
    await pass(5_000);
    expect(store.reads.length).toBe(before);
    client.goOn();
    await pass(0);
    expect(client.end).toBe("ok");
    for (const id of ids) expect(client.words(id).at(-1)).toBe("failure");
    expect(store.reads.slice(before).flat()).toHaveLength(40 - 8);
  });

  test("gets what has become of an id meanwhile, when that is read again: a new attempt goes on", async () => {
    const error = "x".repeat(16_384);
    const ids = Array.from({ length: 20 }, () => store.add("pending"));
    const client = new Client(ids);
    client.stall();
    await pass(300);
    for (const id of ids) store.set(id, "failure", { error });
    await pass(275);
    const again = ids.at(-1) as ReqId;
    store.set(again, "pending", { createdAt: new Date(createdAt.getTime() + 1_000) });
    client.goOn();
    await pass(0);
    expect([client.words(again).at(-1), client.end]).toEqual(["pending", undefined]);
    store.set(again, "success", { createdAt: new Date(createdAt.getTime() + 1_000) });
    await pass(275);
    expect([client.words(again).at(-1), client.end]).toEqual(["success", "ok"]);
  });
});

test.for([
  ["MAX_WATCHED", { maxWatched: 3 }],
  ["MAX_WATCHED_PAIRS", { maxWatchedPairs: 3 }],
] as const)("beyond %s a watch is shed whole", async ([limit, limits]) => {
  watching = open(limits);
  const ids = Array.from({ length: 3 }, () => store.add("pending"));
  const first = new Client(ids.slice(0, 2));
  await pass(0);
  const shed = new Client([store.add("pending"), store.add("pending")]);
  await pass(0);
  expect([shed.end, shed.call.heldOutcome]).toEqual([overloaded(limit), limit]);
  const fits = new Client(ids.slice(2));
  await pass(0);
  expect([first.end, fits.end]).toEqual([undefined, undefined]);
});
