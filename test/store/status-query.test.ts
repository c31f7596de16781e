import fc from "fast-check";
import { expect, test } from "vitest";
import { wholeSeconds } from "../../src/store/reads/status-query.ts";

test("a number of microseconds is read as whole seconds, exactly", () => {
  fc.assert(
    fc.property(fc.bigInt(-62_135_596_800n, 253_402_300_799n), (seconds) => {
      expect(wholeSeconds(`${seconds * 1_000_000n}`)).toBe(Number(seconds));
    }),
  );
});

test("what is no whole number of seconds is none", () => {
  fc.assert(
    fc.property(fc.bigInt(-62_135_596_800n, 253_402_300_799n), fc.bigInt(1n, 999_999n), (seconds, rest) => {
      expect(wholeSeconds(`${seconds * 1_000_000n + rest}`)).toBeNaN();
    }),
  );
});

test.for([
  "",
  "-",
  "000000",
  "-000000",
  "1.000000",
  "1e3000000",
  " 1000000",
  "x000000",
  "--1000000",
])("what is no number is none: %j", (text) => {
  expect(wholeSeconds(text)).toBeNaN();
});
