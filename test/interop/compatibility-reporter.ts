import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Reporter, TestCase, TestModule, TestRunEndReason, Vitest } from "vitest/node";

declare module "vitest" {
  interface TaskMeta {
    /** The number of cases of an external suite that a test has run. */
    cases?: number;
  }
}

const table = join(import.meta.dirname, "..", "..", "docs", "compatibility.md");

const introduction = `# Compatibility

Written by \`npm run test:interop\`, which runs published clients against the service and its PostgreSQL; do not edit.

| client | case | result |
|---|---|---|
`;

/**
 * Writes docs/compatibility.md: client (the outermost \`describe\`), case, result. A run of some of the tests, or one
 * in which a test file failed to load, does not change it.
 */
export default class CompatibilityReporter implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  async onTestRunEnd(
    modules: readonly TestModule[],
    _errors: readonly unknown[],
    reason: TestRunEndReason,
  ): Promise<void> {
    const all = await this.#vitest?.globTestSpecifications();
    const isWhole = all?.length === modules.length && this.#vitest?.config.testNamePattern === undefined;
    if (!isWhole || reason === "interrupted" || modules.some(hasNotRun)) return;
    const byPath = modules.toSorted((a, b) => (a.relativeModuleId < b.relativeModuleId ? -1 : 1));
    const rows = byPath.flatMap((module) => Array.from(module.children.allTests(), row));
    await writeFile(table, `${introduction}${rows.join("\n")}\n`);
  }
}

/** Whether a failed import or hook kept tests from running. Vitest counts these as skipped. */
function hasNotRun(module: TestModule): boolean {
  return [module, ...module.children.allSuites()].some((suite) => suite.errors().length > 0);
}

function row(test: TestCase): string {
  const [client = "", ...names] = pathOf(test);
  return `| ${[client, names.join(": "), resultOf(test)].map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function pathOf({ parent, name }: TestCase): string[] {
  const path = [name];
  for (let suite = parent; suite.type === "suite"; suite = suite.parent) path.unshift(suite.name);
  return path;
}

function resultOf(test: TestCase): string {
  const { state } = test.result();
  const { cases } = test.meta();
  if (state === "passed") return cases === undefined ? "passes" : `passes: ${cases} cases, no known failures`;
  return state === "skipped" ? "skipped (INTEROP_SKIP)" : "**fails**";
}
