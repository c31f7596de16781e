import { availableParallelism } from "node:os";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

type ProjectTest = NonNullable<TestProjectInlineConfiguration["test"]>;

const longRunning = ["faults", "fuzz", "ha", "interop"] as const;

/** The PostgreSQL server that all files of a project share. */
const postgres = "test/support/postgres.ts";

/** The tests of one folder, which take minutes: `npm run test:<folder>` runs them, with reporters of its own. */
function longRunningProject(
  name: (typeof longRunning)[number],
  test: ProjectTest,
): TestProjectInlineConfiguration {
  return { test: { name, include: [`test/${name}/**/*.test.ts`], hookTimeout: 60_000, ...test } };
}

export default defineConfig({
  test: {
    reporters: ["default", "./test/support/count-reporter.ts"],
    projects: [
      {
        test: {
          name: "default",
          include: ["test/**/*.test.ts"],
          exclude: [`test/{${longRunning.join()}}/**`],
          globalSetup: [postgres],
          testTimeout: 30_000,
          hookTimeout: 60_000,
          setupFiles: ["test/support/no-leftovers.ts"],
          // Files leave nothing behind in their process, so that one process can load src/ once for many of them.
          isolate: false,
          // Tests mostly wait: for a database, a timeout, a process.
          maxWorkers: availableParallelism() + 1,
        },
      },
      longRunningProject("fuzz", { globalSetup: [postgres], testTimeout: 120_000 }),
      // Each fault stops, starves or kills a PostgreSQL server of the project's own.
      longRunningProject("faults", { fileParallelism: false, testTimeout: 30_000 }),
      longRunningProject("ha", {
        globalSetup: [postgres],
        fileParallelism: false,
        testTimeout: 120_000,
        hookTimeout: 300_000,
      }),
      // Serial: these tests measure timeouts of clients, which share one machine.
      longRunningProject("interop", {
        globalSetup: [postgres],
        fileParallelism: false,
        testTimeout: 120_000,
        hookTimeout: 300_000,
      }),
    ],
  },
});
