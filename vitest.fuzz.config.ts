import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/fuzz/**/*.test.ts"],
    globalSetup: ["test/support/postgres.ts"],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    reporters: ["default", "./test/fuzz/inputs-reporter.ts", "./test/support/count-reporter.ts"],
  },
});
