import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export const root = join(import.meta.dirname, "..", "..");

/** A fenced block of a page. */
interface Block {
  readonly language: string;
  readonly code: string;
}

/** A page of the documentation. */
export interface Page {
  /** From the repository's root. */
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly Block[];
}

/** A block in a list is indented. */
const fenced = /^( *)```(\w*)\n(.*?)^\1```$/gms;

const paths = [
  ...["README.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md"],
  ...(await readdir(join(root, "docs"), { recursive: true }))
    .filter((path) => path.endsWith(".md"))
    .map((path) => `docs/${path}`)
    .toSorted(),
];

/** Every page that people wrote or that the test suites write. */
export const pages: readonly Page[] = await Promise.all(
  paths.map(async (path) => {
    const text = await readFile(join(root, path), "utf8");
    return { path, text, blocks: blocksOf(text) };
  }),
);

/** @throws Error when there is no such page. */
export function page(path: string): Page {
  const found = pages.find((each) => each.path === path);
  if (found === undefined) throw new Error(`no page ${path}`);
  return found;
}

/** The blocks of one language, of all pages. */
export function blocksIn(language: string): { path: string; code: string }[] {
  return pages.flatMap(({ path, blocks }) =>
    blocks.filter((block) => block.language === language).map(({ code }) => ({ path, code })),
  );
}

/** The commands of a block of `sh`, without comments, each in one line or in several that end with a backslash. */
export function commandsOf(code: string): string[] {
  return code
    .split(/(?<!\\)\n/)
    .map((line) => line.replace(/(?<=^|\s)# .*$/, "").trim())
    .filter((line) => line !== "");
}

function blocksOf(text: string): Block[] {
  return Array.from(text.matchAll(fenced), ([, indent = "", language = "", code = ""]) => ({
    language,
    code: code.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  }));
}
