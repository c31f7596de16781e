import { readdir, readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import manifest from "../../package.json" with { type: "json" };

const root = new URL("../..", import.meta.url);
const readText = async (path: string) => await readFile(new URL(path, root), "utf8");

test("every test that SECURITY.md names exists", async () => {
  const document = (await readText("SECURITY.md")).replaceAll(/\s+/g, " ");
  const [, promises = ""] = /## What is promised (.*) ## What is not promised/.exec(document) ?? [];
  const files = Array.from(promises.matchAll(/`(test\/[\w./-]+)`/g), ([, path = ""]) => path);
  const names = Array.from(promises.matchAll(/"([^"]+)"/g), ([, name = ""]) => name);
  expect(files.length).toBeGreaterThan(10);
  expect(names.length).toBeGreaterThan(10);

  const tests = await readdir(new URL("test", root), { recursive: true });
  for (const file of files) expect(["test/hostile", ...tests.map((path) => `test/${path}`)]).toContain(file);
  const texts = await Promise.all(files.filter((path) => path.endsWith(".ts")).map(readText));
  for (const name of names)
    expect(
      texts.some((text) => text.includes(name)),
      name,
    ).toBe(true);
});

test("every install script is allowed or refused by name", async () => {
  const lock = JSON.parse(await readText("package-lock.json"));
  const names = Object.entries<{ hasInstallScript?: boolean }>(lock.packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript)
    .map(([path]) => path.replace(/.*node_modules\//, ""));
  expect(names).not.toEqual([]);
  for (const name of names) expect(Object.keys(manifest.allowScripts)).toContain(name);
});
