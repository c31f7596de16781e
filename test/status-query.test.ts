import fc from "fast-check";
import { expect, test } from "vitest";
import { wholeSeconds } from "../src/store/status-query.ts";

test("the seconds of a time are read as Number() reads them", () => {
  const range = { min: -62_135_596_800, max: 253_402_300_799 };
  fc.assert(
    fc.property(fc.integer(range), fc.nat(12), (seconds, zeros) => {
      const text = zeros === 0 ? `${seconds}` : `${seconds}.${"0".repeat(zeros)}`;
      expect(wholeSeconds(text)).toBe(Number(text));
    }),
  );
});

test.for([
  "",
  "-",
  ".",
  "1.5",
  "1.000001",
  "-0.5",
  "1e3",
  "0x10",
  " 1",
  "1 ",
  "1.0.0",
  "--1",
  "+1",
  "Infinity",
  "-Infinity",
  "NaN",
])("what is no whole number of seconds is none: %j", (text) => {
  expect(wholeSeconds(text)).toBeNaN();
});
