import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { createOrder } from "../../bench/wait/churn/order.ts";
import { goneState, type State } from "../../bench/wait/clients/states.ts";
import { eventsReader } from "../../bench/wait/clients/ways/events.ts";
import { longPollReader } from "../../bench/wait/clients/ways/long-poll.ts";
import type { Reader } from "../../bench/wait/clients/ways/reader.ts";
import { watchReader } from "../../bench/wait/clients/ways/watch.ts";
import {
  GetStatusResponse_Status,
  WatchStatusResponseSchema,
} from "../../src/gen/gomemory/status/v1/status_pb.ts";

const reqId = "0b1cda3c-9a5f-4b7e-8f2d-1c0a9b8e7d6f";
const other = "1b1cda3c-9a5f-4b7e-8f2d-1c0a9b8e7d6f";
const whole = { status: 200, grpcStatus: undefined, reason: undefined, isWhole: true };

function state(status: State["status"], createdAt = 100, id = reqId): State {
  return { reqId: id, status, createdAt, error: undefined };
}

describe("the order of states that clients get under churn", () => {
  const cases = [
    { name: "each status once", states: [state("pending"), state("processing"), state("success")] },
    { name: "one that skips processing", states: [state("pending"), state("failure")] },
    { name: "a new attempt", states: [state("processing"), state("pending", 200), state("success", 200)] },
    { name: "the same status twice", states: [state("pending"), state("pending")], problem: /twice/ },
    { name: "a final status twice", states: [state("success"), state("success")], problem: /on one stream/ },
    {
      name: "more after a final status",
      states: [state("failure"), state("pending", 200)],
      problem: /on one stream/,
    },
    {
      name: "a status that goes backwards",
      states: [state("processing"), state("pending")],
      problem: /after/,
    },
    { name: "an older attempt", states: [state("pending", 200), state("success", 100)], problem: /after/ },
    { name: "a job that was not asked for", states: [state("pending", 100, other)], problem: /not asked/ },
    { name: "more after gone", states: [goneState(reqId), state("pending")], problem: /on one stream/ },
  ];
  for (const { name, states, problem } of cases) {
    test(`${problem === undefined ? "takes" : "refuses"} ${name}`, () => {
      const stream = createOrder().stream([reqId]);
      const problems = states.map((each) => stream.next(each)).filter((each) => each !== undefined);
      if (problem === undefined) expect(problems).toEqual([]);
      else expect(problems).toEqual([expect.stringMatching(problem)]);
    });
  }

  test("takes the same status again on another stream, and refuses an older one", () => {
    const order = createOrder();
    order.stream([reqId]).next(state("processing"));
    expect(order.stream([reqId]).next(state("processing"))).toBeUndefined();
    expect(order.stream([reqId]).next(state("pending"))).toMatch(/from one stream to the next/);
  });

  test("refuses an OK before all is final", () => {
    const stream = createOrder().stream([reqId, other]);
    stream.next(state("success"));
    expect(stream.end()).toMatch(/1 statuses were not final/);
    stream.next(state("failure", 100, other));
    expect(stream.end()).toBeUndefined();
  });
});

describe("a client that waits reads byte by byte", () => {
  const createdAt = Date.parse("2026-03-03T21:44:15Z") / 1000;
  const json = `{"status":"success","createdAt":"2026-03-03T21:44:15Z"}`;

  function readAll(reader: Reader, bytes: Buffer): State[] {
    return Array.from(bytes).flatMap((byte) => reader.read(Buffer.from([byte])));
  }

  test("a watch", () => {
    const reader = watchReader();
    const status = {
      status: GetStatusResponse_Status.success,
      createdAt: { seconds: BigInt(createdAt), nanos: 0 },
    };
    const event = { case: "status" as const, value: { reqId, status } };
    const message = toBinary(WatchStatusResponseSchema, create(WatchStatusResponseSchema, { event }));
    const framed = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
    expect(readAll(reader, Buffer.concat([framed, framed]))).toEqual([
      state("success", createdAt),
      state("success", createdAt),
    ]);
    expect(reader.end({ ...whole, grpcStatus: "0" }).outcome).toBe("OK");
  });

  test("events", () => {
    const reader = eventsReader(reqId);
    const text = `retry: 2000\n\n:\n\nevent: status\nid: 1\ndata: ${json}\n\nevent: end\ndata: {"reason":"FINAL"}\n\n`;
    expect(readAll(reader, Buffer.from(text))).toEqual([state("success", createdAt)]);
    expect(reader.end(whole).outcome).toBe("OK");
  });

  test("a long poll", () => {
    const reader = longPollReader(reqId);
    expect(readAll(reader, Buffer.from(json))).toEqual([]);
    expect(reader.end(whole)).toEqual({ states: [state("success", createdAt)], outcome: "OK" });
  });
});
