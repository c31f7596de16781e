import { availableParallelism } from "node:os";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

type ProjectTest = NonNullable<TestProjectInlineConfiguration["test"]>;

const longRunning = ["faults", "fuzz", "ha", "interop"] as const;

/** Tests that need the machine, or its limit on open files, for themselves: what a service withstands, and how old a replica is. */
const alone = ["test/hostile/**/*.test.ts", "test/store/replica*.test.ts", "test/app/open-files.test.ts"];

/** One PostgreSQL server for all files of a project. */
const postgres = "test/support/postgres.ts";

/** The tests of one folder, which take minutes: `npm run test:<folder>` runs them, with reporters of its own. */
function longRunningProject(
  name: (typeof longRunning)[number],
  test: ProjectTest,
): TestProjectInlineConfiguration {
  return { test: { name, include: [`test/${name}/**/*.test.ts`], ...test } };
}

export default defineConfig({
  // Projects inherit these.
  test: {
    // The last line is the count, for machines: `12 passed, 0 failed, 0 skipped`.
    reporters: ["default", "./test/support/count-reporter.ts"],
    setupFiles: ["test/support/no-leftovers.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // The default of 1 s is a failure on a slow machine.
    expect: { poll: { timeout: 10_000, interval: 20 } },
    projects: [
      {
        test: {
          name: "default",
          include: ["test/**/*.test.ts"],
          exclude: [`test/{${longRunning.join()}}/**`, ...alone],
          globalSetup: [postgres],
          // Files leave nothing behind in their process, so that one process can load src/ once for many of them.
          isolate: false,
          // Tests mostly wait: for a database, a timeout, a process.
          maxWorkers: availableParallelism() + 1,
        },
      },
      // `npm test` runs these after the others, one file after the other.
      {
        test: {
          name: "alone",
          include: alone,
          globalSetup: [postgres],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      longRunningProject("fuzz", { globalSetup: [postgres], testTimeout: 120_000 }),
      // Each fault stops, starves or kills the PostgreSQL server of the test.
      longRunningProject("faults", { fileParallelism: false, hookTimeout: 300_000 }),
      longRunningProject("ha", {
        globalSetup: [postgres],
        fileParallelism: false,
        testTimeout: 120_000,
        hookTimeout: 300_000,
      }),
      // One file after the other: these tests measure timeouts of clients, which share one machine.
      longRunningProject("interop", {
        globalSetup: [postgres],
        fileParallelism: false,
        testTimeout: 120_000,
        hookTimeout: 300_000,
      }),
    ],
  },
});
