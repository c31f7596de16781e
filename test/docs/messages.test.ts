import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { page, root } from "./pages.ts";

const files = (await readdir(join(root, "src"), { recursive: true })).filter(
  (path) => path.endsWith(".ts") && !path.startsWith("gen/"),
);
/** All code, with texts of several lines in one. */
const code = (await Promise.all(files.map((path) => readFile(join(root, "src", path), "utf8"))))
  .join("\n")
  .replaceAll(/["`] \+\n\s*["`]/g, "");

/** The code spans of a cell of each row of a page's tables. */
function spansOf(path: string, cell: number): string[] {
  const rows = page(path).text.matchAll(/^\| .* \|$/gm);
  return Array.from(rows, ([row]) => row.slice(2, -2).split(/(?<!\\) \| /)[cell] ?? "").flatMap((text) =>
    Array.from(text.matchAll(/`([^`]+)`/g), ([, span = ""]) => span),
  );
}

const isMessage = (span: string) => /\w \w/.test(span);

test("the messages that docs/operate/troubleshooting.md quotes are those of the service", () => {
  const quoted = spansOf("docs/operate/troubleshooting.md", 0).filter(isMessage);
  expect(quoted.length).toBeGreaterThan(20);
  expect(quoted.filter((message) => !code.includes(message))).toEqual([]);
});

test("docs/operate/logs.md has every line that the service logs, and no other", () => {
  const listed = spansOf("docs/operate/logs.md", 1);
  expect(listed.filter(isMessage).filter((message) => !code.includes(message))).toEqual([]);

  const calls = code.matchAll(/\blog\.(\w+)\(\s*(?:\{[^}]*\},\s*)?(?:"([^"]+)"|`\$\{[^}]*\}:? ?([^`]*)`)/g);
  const logged = Array.from(calls, ([, , text, end]) => text ?? end ?? "").filter(Boolean);
  expect(logged.length).toBeGreaterThan(25);
  const text = page("docs/operate/logs.md").text;
  expect(logged.filter((message) => !text.includes(message))).toEqual([]);
});
