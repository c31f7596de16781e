import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Reporter, TestCase, TestModule, TestRunEndReason, Vitest } from "vitest/node";
import { type CompatibilityResult, compatibilityPage } from "./compatibility-page.ts";

declare module "vitest" {
  interface TaskMeta {
    /** The number of cases of an external suite that a test has run. */
    cases?: number;
  }
}

const page = join(import.meta.dirname, "..", "..", "docs", "evidence", "compatibility.md");

/** Writes docs/evidence/compatibility.md after a complete run. A run of some of the tests leaves the page as it is. */
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
    const results = byPath.flatMap((module) => Array.from(module.children.allTests(), toResult));
    await writeFile(page, compatibilityPage(results));
  }
}

/** Whether a failed import or hook kept tests from running. Vitest counts these as skipped. */
function hasNotRun(module: TestModule): boolean {
  return [module, ...module.children.allSuites()].some((suite) => suite.errors().length > 0);
}

function toResult(test: TestCase): CompatibilityResult {
  const [client = "", ...names] = pathOf(test);
  const { cases } = test.meta();
  return { client, names, state: test.result().state, ...(cases !== undefined && { cases }) };
}

function pathOf({ parent, name }: TestCase): string[] {
  const path = [name];
  for (let suite = parent; suite.type === "suite"; suite = suite.parent) path.unshift(suite.name);
  return path;
}
