import { afterEach, expect, test, vi } from "vitest";
import { ConnectionAge } from "../../src/server/connection-age.ts";

afterEach(() => vi.restoreAllMocks());

test.for([
  { random: 0, oldAt: 900 },
  { random: 0.5, oldAt: 1_000 },
  { random: 0.999, oldAt: 1_100 },
])("a connection is old within a tenth of its limit, and over after the grace: at $oldAt", ({
  random,
  oldAt,
}) => {
  vi.spyOn(Math, "random").mockReturnValue(random);
  const age = new ConnectionAge({ maxConnectionAge: 1_000, maxConnectionAgeGrace: 300 });
  const born = 5_000;
  // The sweeps ask for both, in either order.
  expect([age.exceedsGrace(born), age.exceedsLimit(born)]).toEqual([false, false]);
  expect(age.exceedsLimit(born + oldAt - 2)).toBe(false);
  expect([age.exceedsLimit(born + oldAt), age.exceedsGrace(born + oldAt)]).toEqual([true, false]);
  expect(age.exceedsGrace(born + oldAt + 298)).toBe(false);
  expect(age.exceedsGrace(born + oldAt + 300)).toBe(true);
});
