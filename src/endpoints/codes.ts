import { Code } from "@connectrpc/connect";

const names = new Map<Code, string>(
  Object.entries(Code)
    .filter((entry): entry is [string, Code] => typeof entry[1] === "number")
    .map(([name, code]) => [code, name.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase()]),
);

// Connect spells it with one l, gRPC with two.
names.set(Code.Canceled, "CANCELLED");

/** The name of a code as the gRPC specification writes it: `Code.NotFound` → `NOT_FOUND`. */
export function codeName(code: Code): string {
  return names.get(code) ?? "UNKNOWN";
}
