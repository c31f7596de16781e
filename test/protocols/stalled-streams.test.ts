import { afterEach, describe, expect, test, vi } from "vitest";
import { callerGone } from "../../src/status/call.ts";
import { goingAway, slowConsumer, unauthenticated } from "../../src/status/errors.ts";
import { createEndlessWatch, openStalled, takesFastPath, watches } from "../support/endless-watch.ts";
import { serveEndpoints } from "../support/serve.ts";

const printed = vi.spyOn(console, "error");

afterEach(() => {
  // Connect prints what it takes for a fault of the service.
  expect(printed).not.toHaveBeenCalled();
});

describe.for(watches)("a stream that its client does not read: $name", (call) => {
  const withFastPath = takesFastPath(call);

  test("every finally of its endpoint runs when the client resets it", async () => {
    const watch = createEndlessWatch(50_000);
    await using service = await serveEndpoints([watch.endpoint], { withFastPath });
    const client = await openStalled(call, service.url);
    await watch.stalls();
    expect(watch.open).toBe(2);
    client.reset();
    await expect.poll(() => watch.open, { interval: 5 }).toBe(0);
    expect(watch.reasons).toEqual([callerGone]);
  });

  test.for([
    slowConsumer,
    goingAway,
    unauthenticated,
  ])("every finally runs when the call is cancelled, and the client learns why when it reads on: $reason", async (error) => {
    const watch = createEndlessWatch(50_000);
    await using service = await serveEndpoints([watch.endpoint], { withFastPath });
    const client = await openStalled(call, service.url);
    await watch.stalls();
    watch.calls[0]?.cancel(error);
    await expect.poll(() => watch.open, { interval: 5 }).toBe(0);
    expect(watch.reasons).toEqual([error]);
    const end = (await client.readOn()).slice(-3_000);
    expect(end.replaceAll("%20", " ")).toContain(error.message.slice(0, 20));
  });
});
