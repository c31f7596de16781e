import { defineConfig } from "vitest/config";

/** `npm run test:ha`: Postgres as people deploy it, one file after the other. Takes minutes. */
export default defineConfig({
  test: {
    include: ["test/ha/**/*.test.ts"],
    globalSetup: ["test/support/postgres.ts"],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 300_000,
    reporters: ["verbose", "./test/support/count-reporter.ts"],
  },
});
