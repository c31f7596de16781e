import { afterAll } from "vitest";
import { endLeftovers } from "./process.ts";

// A test that times out never disposes of what it has started, and its process would outlive the run.
afterAll(async () => {
  const leftovers = await endLeftovers();
  if (leftovers.length > 0) throw new Error(`processes were left running: ${leftovers.join(", ")}`);
});
