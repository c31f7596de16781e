import type { Reporter, TestModule } from "vitest/node";

/** Ends the output with the runner's own count, alone on a line. */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) count[test.result().state]++;
      // A file that could not be read has no tests, and has failed all the same.
      if (module.errors().length > 0) count.failed++;
    }
    const failed = count.failed + count.pending + errors.length;
    process.stdout.write(`\n${count.passed} passed, ${failed} failed, ${count.skipped} skipped\n`);
  }
}
