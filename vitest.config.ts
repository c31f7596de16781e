import { configDefaults, defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // These take longer, or install something first: each has a configuration of its own.
    exclude: [...configDefaults.exclude, "test/{faults,fuzz,ha,interop}/**"],
    globalSetup: ["test/support/postgres.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // The last line is the count, for machines: `12 passed, 0 failed`.
    reporters: ["default", "./test/support/count-reporter.ts"],
  },
});
