import { afterEach, expect, test, vi } from "vitest";
import { ConnectionAge } from "../../src/server/connection-age.ts";

afterEach(() => vi.restoreAllMocks());

test.for([
  { random: 0, exceededAt: 900 },
  { random: 0.5, exceededAt: 1_000 },
  { random: 0.999, exceededAt: 1_100 },
])("a connection exceeds its age within 10 % of the limit, and its grace after that: at $exceededAt", ({
  random,
  exceededAt,
}) => {
  vi.spyOn(Math, "random").mockReturnValue(random);
  const age = new ConnectionAge({ maxConnectionAge: 1_000, maxConnectionAgeGrace: 300 });
  const openedAt = 5_000;
  // The clock starts with the first question, whichever it is.
  expect([age.exceedsGrace(openedAt), age.exceedsLimit(openedAt)]).toEqual([false, false]);
  expect(age.exceedsLimit(openedAt + exceededAt - 2)).toBe(false);
  expect([age.exceedsLimit(openedAt + exceededAt), age.exceedsGrace(openedAt + exceededAt)]).toEqual([
    true,
    false,
  ]);
  expect(age.exceedsGrace(openedAt + exceededAt + 298)).toBe(false);
  expect(age.exceedsGrace(openedAt + exceededAt + 300)).toBe(true);
});
