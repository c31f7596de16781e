import { dirname } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, test, vi } from "vitest";
import { collectOnceIdle } from "../../src/commands/collect-once-idle.ts";
import { createDatabase } from "../support/database.ts";
import { anyMachine, compileCache, run } from "../support/process.ts";

const launcher = fileURLToPath(new URL("../../bin/gomemory-status", import.meta.url));

/** Prints a line for each collection of all garbage that there is. */
const printCollections = `
  import { constants, PerformanceObserver } from "node:perf_hooks";
  new PerformanceObserver((list) => {
    for (const { detail: { flags } } of list.getEntries()) {
      if (flags & constants.NODE_PERFORMANCE_GC_FLAGS_ALL_AVAILABLE_GARBAGE) console.log("collected");
    }
  }).observe({ type: "gc" });
`;

test("a service without load collects the garbage of its start", async () => {
  await using database = await createDatabase();
  await using service = run([launcher, "serve"], {
    env: {
      PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
      DATABASE_URL: database.url,
      NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(printCollections)}`,
      ...compileCache,
      ...anyMachine,
    },
  });
  await service.logged("listening");
  await service.wrote("collected");
});

test("nothing is collected while there is load, and once after it", async () => {
  const collected = Promise.withResolvers<void>();
  const gc = vi.fn(() => collected.resolve());
  vi.stubGlobal("gc", gc);
  const interval = 20;
  using _collecting = collectOnceIdle(interval);
  for (const end = performance.now() + 5 * interval; performance.now() < end; ) await turn();
  expect(gc).not.toHaveBeenCalled();
  await collected.promise;
  expect(gc).toHaveBeenCalledExactlyOnceWith({ type: "major", flavor: "last-resort" });
  vi.unstubAllGlobals();
});
