import { expect, test, vi } from "vitest";
import { Call } from "../../src/status/call.ts";
import { observeNothing } from "../../src/status/observation.ts";
import { type CallListener, type CallOutcome, observeCalls } from "../../src/telemetry/calls.ts";

/** A listener that records its events. */
function recorded(): { events: unknown[]; listener: CallListener } {
  const events: unknown[] = [];
  const listener: CallListener = {
    started: (call) => events.push(["started", call]),
    message: (call) => events.push(["message", call]),
    ended: ({ call, code, fault }) => events.push(["ended", call, code, fault]),
  };
  return { events, listener };
}

test("every listener receives each event of a call, and its first end alone", () => {
  const all = [recorded(), recorded()];
  const observe = observeCalls(
    all.map(
      ({ listener }) =>
        () =>
          listener,
    ),
  );
  const call = new Call();
  const fault = new Error("it broke");
  const observation = observe("grpc", "S/M").start(call);
  observation.message();
  observation.end("UNAVAILABLE", fault);
  observation.end("OK");
  for (const { events } of all) {
    expect(events).toEqual([
      ["started", call],
      ["message", call],
      ["ended", call, "UNAVAILABLE", fault],
    ]);
  }
});

test("a listener need not receive every event", () => {
  const { start } = observeCalls([() => ({})])("rest", "S/M");
  const observation = start(new Call());
  observation.message();
  expect(() => observation.end("OK")).not.toThrow();
});

test("the duration is that from the arrival of the call, measured once", () => {
  const durations: number[] = [];
  const listener = { ended: ({ duration }: CallOutcome) => void durations.push(duration) };
  const call = new Call();
  const now = vi.spyOn(performance, "now").mockReturnValue(call.arrivedAt + 12.5);
  try {
    observeCalls([() => listener, () => listener])("rest", "S/M")
      .start(call)
      .end("OK");
    expect(durations).toEqual([12.5, 12.5]);
    expect(now).toHaveBeenCalledOnce();
  } finally {
    now.mockRestore();
  }
});

test("there is one listener for each method and protocol", () => {
  const made: string[] = [];
  const observe = observeCalls([
    (protocol, method) => {
      made.push(`${protocol} ${method}`);
      return {};
    },
  ]);
  for (const protocol of ["rest", "grpc", "rest"] as const) {
    for (const method of ["S/M", "S/N", "S/M"]) observe(protocol, method).start(new Call());
  }
  expect(made).toEqual(["rest S/M", "rest S/N", "grpc S/M", "grpc S/N"]);
});

test("without listeners nothing is observed", () => {
  expect(observeCalls([])).toBe(observeNothing);
});
