import { expect, test } from "vitest";
import { Call, callerGone } from "../../src/status/call.ts";

/** Work that notes why it was cancelled. */
function work() {
  const reasons: unknown[] = [];
  return { reasons, cancel: (reason: unknown) => void reasons.push(reason) };
}

test("every piece of work that is attached is cancelled once, with the first reason", () => {
  const call = new Call();
  const all = [work(), work(), work()];
  for (const each of all) call.attach(each);
  call.cancel(callerGone);
  call.cancel(new Error("too late to count"));
  expect(all.map(({ reasons }) => reasons)).toEqual(all.map(() => [callerGone]));
  expect(call).toMatchObject({ cancelled: true, reason: callerGone });
});

test.for([
  0, 1, 2,
])("work that was detached (of three, number %d) is not cancelled, the others are", (gone) => {
  const call = new Call();
  const all = [work(), work(), work()];
  for (const each of all) call.attach(each);
  call.detach(all[gone] as (typeof all)[number]);
  call.cancel(callerGone);
  expect(all.map(({ reasons }) => reasons.length)).toEqual([0, 1, 2].map((at) => (at === gone ? 0 : 1)));
});

test("to detach what is not attached changes nothing", () => {
  const call = new Call();
  const attached = work();
  call.detach(work());
  call.attach(attached);
  call.detach(work());
  call.cancel(callerGone);
  expect(attached.reasons).toEqual([callerGone]);
});

test("work that is cancelled may detach itself and others meanwhile", () => {
  const call = new Call();
  const other = work();
  const detaching = {
    cancel() {
      call.detach(detaching);
      call.detach(other);
    },
  };
  call.attach(detaching);
  call.attach(other);
  call.cancel(callerGone);
  expect(other.reasons).toEqual([callerGone]);
});

test("the signal fires with the reason, whether it was asked for before or after", () => {
  const call = new Call();
  const { signal } = call;
  expect(signal.aborted).toBe(false);
  call.cancel(callerGone);
  expect(signal.reason).toBe(callerGone);
  const late = new Call();
  late.cancel(callerGone);
  expect(late.signal.reason).toBe(callerGone);
});

test("the job that is asked for is known when it was asked for by an id", () => {
  const call = new Call();
  expect(call.reqId).toBeUndefined();
  call.asked = "nope";
  expect(call.reqId).toBeUndefined();
  call.asked = "0B1CDA3C-9A5F-4B7E-8F2D-1C0A9B8E7D6F";
  expect(call.reqId).toBe("0b1cda3c-9a5f-4b7e-8f2d-1c0a9b8e7d6f");
});
