import { describe, expect, test } from "vitest";
import { answerNow, Call, callerGone, type HeldKind, heldKinds } from "../../src/status/call.ts";
import { goingAway, unauthenticated } from "../../src/status/errors.ts";
import {
  answerHeldCalls,
  createHolds,
  type Held,
  type Holds,
  holdsCalls,
  sendAwayHeldCalls,
} from "../../src/status/holds.ts";

const many = 1_000;

function callOf(fields: Partial<Pick<Call, "caller" | "token" | "connection">> = {}): Call {
  return Object.assign(new Call(), fields);
}

/** @returns the place of a call that is to be admitted. */
function enter(holds: Holds, call = callOf(), kind: HeldKind = "watch"): Held {
  const held = holds.enter(call, kind);
  if (typeof held === "string") throw new Error(`shed by ${held}`);
  return held;
}

const open = (options: Partial<Parameters<typeof createHolds>[0]> = {}) =>
  createHolds({ maxWaiting: many, maxConcurrentStreams: many, ...options });

/** @returns how many of the calls are admitted, one after the other, and the limit that sheds the others. */
function fill(holds: Holds, calls: readonly Call[]) {
  const results = calls.map((call) => holds.enter(call, "watch"));
  const shed = results.filter((held) => typeof held === "string");
  return { admitted: results.length - shed.length, shedBy: [...new Set(shed)] };
}

const times = (count: number, make: () => Call) => Array.from({ length: count }, make);

describe("MAX_WAITING", () => {
  test("bounds the calls of all kinds together", () => {
    const holds = open({ maxWaiting: 5 });
    for (const kind of heldKinds) enter(holds, callOf(), kind);
    const call = callOf();
    expect(holds.enter(call, "wait")).toBe("MAX_WAITING");
    expect(call).toMatchObject({ heldAs: "wait", heldOutcome: "MAX_WAITING" });
  });

  test.for([
    { maxWaiting: 10, ofOne: 5 },
    { maxWaiting: 5, ofOne: 2 },
    { maxWaiting: 1, ofOne: 1 },
  ])("of $maxWaiting admits $ofOne of one token's name, and leaves the rest to others", ({
    maxWaiting,
    ofOne,
  }) => {
    const holds = open({ maxWaiting });
    const ofAlice = () => callOf({ caller: "alice" });
    expect(fill(holds, times(maxWaiting, ofAlice))).toEqual({
      admitted: ofOne,
      shedBy: maxWaiting === ofOne ? [] : ["MAX_WAITING"],
    });
    expect(fill(holds, times(maxWaiting, callOf)).admitted).toBe(maxWaiting - ofOne);
  });

  test("is not shared out where calls have no token", () => {
    expect(fill(open({ maxWaiting: 10 }), times(11, callOf))).toEqual({
      admitted: 10,
      shedBy: ["MAX_WAITING"],
    });
  });
});

describe("MAX_CONCURRENT_STREAMS", () => {
  test.for([
    { maxConcurrentStreams: 100, ofOne: 80 },
    { maxConcurrentStreams: 6, ofOne: 4 },
    { maxConcurrentStreams: 1, ofOne: 1 },
  ])("of $maxConcurrentStreams admits $ofOne of one connection", ({ maxConcurrentStreams, ofOne }) => {
    const holds = open({ maxConcurrentStreams });
    const [one, other] = [{}, {}];
    const onOne = () => callOf({ connection: one });
    expect(fill(holds, times(ofOne + 1, onOne))).toEqual({
      admitted: ofOne,
      shedBy: ["MAX_CONCURRENT_STREAMS"],
    });
    expect(
      fill(
        holds,
        times(ofOne, () => callOf({ connection: other })),
      ).admitted,
    ).toBe(ofOne);
  });

  test("does not bound calls whose connection is gone", () => {
    expect(fill(open({ maxConcurrentStreams: 1 }), times(3, callOf)).admitted).toBe(3);
  });
});

describe("a call that is held", () => {
  test.for([
    { how: "is released", end: (_call: Call, held: Held) => held.release() },
    { how: "is cancelled", end: (call: Call) => call.cancel(callerGone) },
    {
      how: "is released twice, and cancelled",
      end(call: Call, held: Held) {
        held.release();
        held.release();
        call.cancel(callerGone);
      },
    },
    {
      how: "is cancelled, and released",
      end(call: Call, held: Held) {
        call.cancel(callerGone);
        held.release();
      },
    },
  ])("makes room once when it $how: overall, of its token, of its connection, of its kind", ({ end }) => {
    const holds = open({ maxWaiting: 4, maxConcurrentStreams: 2 });
    const connection = {};
    const make = () => callOf({ caller: "alice", connection });
    const kept = make();
    enter(holds, kept, "events");
    const call = callOf({ caller: "alice" });
    const held = enter(holds, call);
    expect(holds.enter(callOf({ caller: "alice" }), "watch")).toBe("MAX_WAITING");
    end(call, held);
    expect([holds.count("watch"), holds.count("events")]).toEqual([0, 1]);
    expect(holds.enter(make(), "watch")).toBe("MAX_CONCURRENT_STREAMS");
    enter(holds, callOf({ caller: "alice" }));
    expect(holds.enter(callOf({ caller: "alice" }), "watch")).toBe("MAX_WAITING");
    kept.cancel(callerGone);
    expect(holdsCalls(connection)).toBe(false);
    enter(holds, make());
    expect(holds.count("watch")).toBe(2);
  });

  test("and was cancelled before takes no place", () => {
    const holds = open({ maxWaiting: 1 });
    const call = callOf();
    call.cancel(callerGone);
    enter(holds, call).release();
    expect(holds.count("watch")).toBe(0);
    enter(holds);
    expect(holds.count("watch")).toBe(1);
  });

  test("counts as what its protocol says, if that says anything", () => {
    const holds = open();
    const call = callOf();
    call.heldAs = "events";
    enter(holds, call, "watch");
    expect(heldKinds.map((kind) => holds.count(kind))).toEqual([0, 0, 1, 0, 0]);
  });
});

describe("the calls of a connection", () => {
  const [mine, others] = [{}, {}];
  const holds = open();

  test("end with GOING_AWAY when it is too old, and only they", () => {
    const [call, other] = [callOf({ connection: mine }), callOf({ connection: others })];
    enter(holds, call);
    enter(holds, other);
    expect(sendAwayHeldCalls(mine)).toBe(true);
    expect([call.reason, other.cancelled]).toEqual([goingAway, false]);
    expect(sendAwayHeldCalls(mine)).toBe(false);
  });

  test("answer when its caller has ended its sending side, also those that are held later", () => {
    const [call, later] = [callOf({ connection: mine }), callOf({ connection: mine })];
    enter(holds, call);
    answerHeldCalls(mine);
    enter(holds, later).release();
    expect([call.reason, later.reason]).toEqual([answerNow, answerNow]);
    expect(holdsCalls(mine)).toBe(false);
  });
});

describe("when the list of tokens has changed", () => {
  const removed = { caller: "alice", token: "a" };
  const kept = { caller: "bob", token: "b" };
  const isKnown = (token: string, name: string | undefined) => token === "b" && name === "bob";

  test.for([
    { kind: "wait", ends: false },
    { kind: "watch", ends: true },
    { kind: "events", ends: true },
    { kind: "health", ends: false },
    { kind: "reflection", ends: true },
  ] as const)("a held call of a removed token: $kind, ends: $ends", ({ kind, ends }) => {
    const holds = open();
    const call = callOf(removed);
    enter(holds, call, kind);
    holds.endUnauthenticated(isKnown);
    expect(call.reason).toBe(ends ? unauthenticated : undefined);
    expect(holds.count(kind)).toBe(ends ? 0 : 1);
  });

  test.for([
    { of: "a known token", fields: kept, ends: false },
    { of: "a known token under another name", fields: { ...kept, caller: "robert" }, ends: true },
    { of: "no token", fields: {}, ends: false },
  ])("a watch of $of: ends: $ends", ({ fields, ends }) => {
    const holds = open();
    const call = callOf(fields);
    enter(holds, call);
    holds.endUnauthenticated(isKnown);
    expect(call.cancelled).toBe(ends);
  });

  test("a watch whose headers were accepted before ends at once, and takes no place", () => {
    const holds = open();
    holds.endUnauthenticated(isKnown);
    const call = callOf(removed);
    enter(holds, call).release();
    expect(call.reason).toBe(unauthenticated);
    expect(holds.count("watch")).toBe(0);
  });
});
