import type { Reporter, TestCase, TestModule } from "vitest/node";

/** Prints the number of inputs of each test, and the total. */
export default class InputsReporter implements Reporter {
  #inputs = 0;

  onTestCaseResult(test: TestCase): void {
    const { inputs = 0 } = test.meta();
    this.#inputs += inputs;
    process.stdout.write(`${inputs} inputs: ${test.fullName}\n`);
  }

  onTestRunEnd(_modules: readonly TestModule[]): void {
    process.stdout.write(`${this.#inputs} inputs in total\n`);
  }
}
