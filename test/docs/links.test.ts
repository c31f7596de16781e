import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";
import { type Page, pages, root } from "./pages.ts";

/** Anchors as GitHub makes them of headings. */
function anchorsOf({ text }: Page): string[] {
  const headings = text.replaceAll(/^ *```.*?^ *```$/gms, "").matchAll(/^#+ (.*)$/gm);
  return Array.from(headings, ([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

const withoutBlocks = ({ text }: Page) => text.replaceAll(/^ *```.*?^ *```$/gms, "");

describe.for(pages.map((page) => ({ page, path: page.path })))("$path", ({ page, path }) => {
  const links = Array.from(withoutBlocks(page).matchAll(/\]\(([^)\s]+)\)/g), ([, target = ""]) => target);

  test("leads to files and headings that exist", () => {
    const broken = links
      .filter((target) => !/^\w+:/.test(target))
      .filter((target) => {
        const [file = "", anchor] = target.split("#");
        const found = file === "" ? path : normalize(join(dirname(path), file));
        if (!existsSync(join(root, found))) return true;
        const linked = pages.find((each) => each.path === found);
        return anchor !== undefined && (linked === undefined || !anchorsOf(linked).includes(anchor));
      });
    expect(broken).toEqual([]);
  });

  test("names files of the repository that exist", () => {
    const names = withoutBlocks(page).matchAll(
      /`((?:src|test|docs|bench|deploy|demo|proto|\.ci)\/[\w./-]+)`/g,
    );
    const missing = Array.from(names, ([, name = ""]) => name).filter(
      (name) => !existsSync(join(root, name)),
    );
    expect(missing).toEqual([]);
  });
});

test("every page is reached from docs/README.md, or from the README", () => {
  const linked = pages
    .filter(({ path }) => path === "docs/README.md" || path === "README.md")
    .flatMap((page) =>
      Array.from(page.text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g), ([, target = ""]) =>
        normalize(join(dirname(page.path), target)),
      ),
    );
  const unlinked = pages
    .map(({ path }) => path)
    .filter((path) => path !== "README.md" && !linked.includes(path));
  // The benchmark's page is linked from the page on performance.
  expect(unlinked).toEqual(["bench/README.md"]);
});

test("every page but the README opens with whom it is for, and what they can do after reading", () => {
  const others = pages.filter(({ path }) => path !== "README.md");
  const wrong = others.filter(({ text }) => {
    const [, opening = ""] = /^# [^\n]+\n\n(.*?)\n\n/s.exec(text) ?? [];
    return !/^For /.test(opening) || !/\b(?:you|your)\b|which page answers/.test(opening);
  });
  expect(wrong.map(({ path }) => path)).toEqual([]);
});

test("every test that docs/explain/private-interfaces.md names exists", async () => {
  const { text } = pages.find(({ path }) => path === "docs/explain/private-interfaces.md") ?? { text: "" };
  const named: { file: string; name: string }[] = [];
  let file = "";
  for (const [, found, name] of text.matchAll(/`(test\/[\w./-]+)`|"([^"\n]+)"/g)) {
    file = found ?? file;
    if (name !== undefined) named.push({ file, name });
  }
  expect(named.length).toBeGreaterThan(3);
  for (const { file, name } of named) expect(await readFile(join(root, file), "utf8"), name).toContain(name);
});
