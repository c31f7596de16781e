import { describe, expect, test } from "vitest";
import { StatusError } from "../../src/status/errors.ts";
import { parseReqId } from "../../src/status/req-id.ts";

const id = "0198c5a8-7b3e-7cde-8f01-23456789abcd";
/** What the proto and RFC 9562 call canonical. */
const canonical = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function parse(text: string): string {
  try {
    return parseReqId(text);
  } catch (error) {
    if (error instanceof StatusError && error.reason === "INVALID_REQ_ID") return "refused";
    throw error;
  }
}

describe("a request id", () => {
  test.for([
    { name: "lower case", text: id },
    { name: "upper case", text: id.toUpperCase() },
    { name: "one digit of upper case", text: id.replace("a8", "A8") },
  ])("in $name is read in lower case", ({ text }) => {
    expect(parse(text)).toBe(id);
  });

  // Beyond ASCII: a letter whose lower case is ASCII, a digit of another script, and half of a surrogate pair.
  const characters = [
    ...Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)),
    ...["\u212a", "\uff11", "\ud83d"],
  ];

  test("has no other character at any position", () => {
    for (let at = 0; at < id.length; at++) {
      for (const character of characters) {
        const text = id.slice(0, at) + character + id.slice(at + 1);
        expect(parse(text), JSON.stringify(text)).toBe(canonical.test(text) ? text.toLowerCase() : "refused");
      }
    }
  });

  test.for([
    "",
    id.slice(1),
    `${id}0`,
    `${id}\n`,
    ` ${id}`,
    `{${id}}`,
    id.replaceAll("-", ""),
  ])("is not %j", (text) => {
    expect(parse(text)).toBe("refused");
  });
});
