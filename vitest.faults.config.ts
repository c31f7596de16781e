import { defineConfig } from "vitest/config";

/** `npm run test:faults`: breaks a database for real, one fault after the other, and takes minutes. */
export default defineConfig({
  test: {
    include: ["test/faults/**/*.test.ts"],
    fileParallelism: false,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: ["verbose", "./test/support/count-reporter.ts"],
  },
});
