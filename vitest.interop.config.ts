import { defineConfig } from "vitest/config";

/** Clients and proxies that are not ours: one file after the other, since they measure patience and share a machine. */
export default defineConfig({
  test: {
    include: ["test/interop/**/*.test.ts"],
    globalSetup: ["test/support/postgres.ts"],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 300_000,
    reporters: ["default", "./test/interop/compatibility-reporter.ts", "./test/support/count-reporter.ts"],
  },
});
