import { create, type DescMessage } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, test } from "vitest";
import type { StreamingEndpoint, UnaryEndpoint } from "../../src/endpoints/endpoint.ts";
import { createLife } from "../../src/endpoints/life.ts";
import { GetStatusRequestSchema, StatusService } from "../../src/gen/gomemory/status/v1/status_pb.ts";
import { Health } from "../../src/gen/health/v1/health_pb.ts";
import type { Admission } from "../../src/status/admission.ts";
import { answerNow, Call, callerGone } from "../../src/status/call.ts";
import { goingAway, overloaded } from "../../src/status/errors.ts";
import { createHolds, type Holds } from "../../src/status/holds.ts";

/** A limit that notes what is inside. */
class Limit implements Admission {
  inside = 0;
  ofBatches = 0;
  isFull = false;

  enter(weight: number, isBatch?: boolean) {
    if (this.isFull) return "MAX_IN_FLIGHT" as const;
    this.inside += weight;
    if (isBatch) this.ofBatches += weight;
    return undefined;
  }

  leave(weight: number, isBatch?: boolean): void {
    this.inside -= weight;
    if (isBatch) this.ofBatches -= weight;
  }
}

let admission: Limit;
let holds: Holds;
let life: ReturnType<typeof createLife>;
let call: Call;
let messages: number;
const observation = { message: () => void messages++, end() {} };
const request = create(GetStatusRequestSchema);

beforeEach(() => {
  admission = new Limit();
  holds = createHolds({ maxWaiting: 1, maxConcurrentStreams: 100 });
  life = createLife({ admission, holds, requestTimeout: 1_000 });
  call = new Call();
  messages = 0;
});

describe("a unary call", () => {
  const endpoint = (handle: UnaryEndpoint["handle"], cost?: number): UnaryEndpoint => ({
    method: StatusService.method.getStatus,
    ...(cost !== undefined && { cost: () => cost }),
    handle,
  });

  test("has the weight of its endpoint's cost, from its start to its end", async () => {
    const answer = Promise.withResolvers<Record<string, unknown>>();
    const running = life.unary(
      endpoint(() => answer.promise, 7),
      request,
      call,
    );
    expect(admission.inside).toBe(7);
    answer.resolve({ status: 1 });
    expect(await running).toEqual({ status: 1 });
    expect(admission.inside).toBe(0);
  });

  test("counts among the batches if its endpoint is one", async () => {
    const answer = Promise.withResolvers<Record<string, unknown>>();
    const batch: UnaryEndpoint = { ...endpoint(() => answer.promise, 7), isBatch: true };
    const running = life.unary(batch, request, call);
    expect([admission.inside, admission.ofBatches]).toEqual([7, 7]);
    answer.resolve({});
    await running;
    expect([admission.inside, admission.ofBatches]).toEqual([0, 0]);
  });

  test("gives its weight back when it fails", async () => {
    const failure = new Error("it broke");
    await expect(
      life.unary(
        endpoint(() => Promise.reject(failure), 1),
        request,
        call,
      ),
    ).rejects.toBe(failure);
    await expect(
      life.unary(
        endpoint(() => {
          throw failure;
        }, 1),
        request,
        call,
      ),
    ).rejects.toBe(failure);
    expect(admission.inside).toBe(0);
  });

  test("is shed before its handler runs", async () => {
    admission.isFull = true;
    const handled: unknown[] = [];
    const running = life.unary(
      endpoint(() => handled.push(1) as never, 1),
      request,
      call,
    );
    await expect(running).rejects.toBe(overloaded("MAX_IN_FLIGHT"));
    expect([handled, admission.inside]).toEqual([[], 0]);
  });

  test("that reads no status is always admitted", async () => {
    admission.isFull = true;
    expect(
      await life.unary(
        endpoint(() => ({})),
        request,
        call,
      ),
    ).toEqual({});
  });

  test("has the sooner of its caller's deadline and REQUEST_TIMEOUT", async () => {
    const before = performance.now();
    await life.unary(
      endpoint(() => ({})),
      request,
      call,
    );
    expect(call.deadline).toBeGreaterThanOrEqual(before + 1_000);
    expect(call.deadline).toBeLessThanOrEqual(performance.now() + 1_000);
    const hasty = new Call(before + 5);
    await life.unary(
      endpoint(() => ({})),
      request,
      hasty,
    );
    expect(hasty.deadline).toBe(before + 5);
  });
});

describe("a stream", () => {
  const endpoint = (handle: () => AsyncIterable<object>) =>
    ({ method: Health.method.watch, heldAs: "health", handle }) as unknown as StreamingEndpoint;
  const stream = (handle: () => AsyncIterable<object>) =>
    life.stream(endpoint(handle), create(Health.method.watch.input as DescMessage), call, observation);

  const twoMessages = () => ReadableStream.from([{ status: 1 }, { status: 2 }]);

  async function* untilCancelled() {
    yield { status: 1 };
    const { signal } = call;
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
  }

  test("is held while it is open, and each of its messages is observed", async () => {
    for await (const _ of stream(twoMessages)) expect(holds.count("health")).toBe(1);
    expect([messages, holds.count("health")]).toEqual([2, 0]);
  });

  test("is shed before its handler runs", async () => {
    holds.enter(new Call(), "health");
    await expect(Array.fromAsync(stream(twoMessages))).rejects.toBe(overloaded("MAX_WAITING"));
    expect(messages).toBe(0);
  });

  test.for([
    ["its caller has gone", callerGone],
    ["its connection is too old", goingAway],
  ] as const)("ends with the reason when %s", async ([, reason]) => {
    const answers = stream(untilCancelled)[Symbol.asyncIterator]();
    await answers.next();
    call.cancel(reason);
    await expect(answers.next()).rejects.toBe(reason);
    expect(holds.count("health")).toBe(0);
  });

  test("ends well when it is to answer now", async () => {
    const answers = stream(untilCancelled)[Symbol.asyncIterator]();
    await answers.next();
    call.cancel(answerNow);
    expect(await answers.next()).toEqual({ done: true, value: undefined });
  });

  test("that is to answer now still sends what its endpoint has", async () => {
    const sent: unknown[] = [];
    for await (const message of stream(twoMessages)) {
      sent.push(message);
      call.cancel(answerNow);
    }
    expect(sent).toHaveLength(2);
  });

  test("that is cancelled otherwise sends no more, whatever its endpoint has", async () => {
    const sent: unknown[] = [];
    const reading = async () => {
      for await (const message of stream(twoMessages)) {
        sent.push(message);
        call.cancel(goingAway);
      }
    };
    await expect(reading()).rejects.toBe(goingAway);
    expect(sent).toHaveLength(1);
  });

  test("that is not read on makes room when its call is cancelled", async () => {
    await stream(untilCancelled)[Symbol.asyncIterator]().next();
    expect(holds.count("health")).toBe(1);
    call.cancel(callerGone);
    expect(holds.count("health")).toBe(0);
  });
});
