import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Reporter, TestCase, TestModule, TestRunEndReason, Vitest } from "vitest/node";

declare module "vitest" {
  interface TaskMeta {
    /** How many cases of a suite that is not ours stand behind a test. */
    cases?: number;
  }
}

const table = join(import.meta.dirname, "..", "..", "docs", "compatibility.md");

const introduction = `# Compatibility

Made by \`npm run test:interop\`, which runs each client as it is published against the service and its PostgreSQL.

| client | case | result |
|---|---|---|
`;

/**
 * Writes docs/compatibility.md: client (the outermost \`describe\`), case, result. A run of some of the tests, and one
 * that could not read all of them, leaves it as it is.
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

/** Whether tests were left out because something that they need failed. Those count as skipped. */
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
