import { randomUUID } from "node:crypto";
import type fc from "fast-check";
import { expect, type TestContext } from "vitest";
import { createDatabase } from "../support/database.ts";
import { type Serving, startServing } from "../support/process.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

declare module "vitest" {
  interface TaskMeta {
    /** How many inputs a test has tried, for the count at the end. */
    inputs?: number;
  }
}

/** The service under test, in a process of its own. */
export interface Fuzzed extends AsyncDisposable {
  readonly serving: Serving;
  /** An id that has a status, the status as JSON, and an id that has none. */
  readonly known: string;
  readonly json: string;
  readonly unknown: string;
  /** @throws AssertionError when the service does not answer any more, or has logged an error. */
  checkHealth(): Promise<void>;
}

export async function startFuzzed(): Promise<Fuzzed> {
  await using started = new AsyncDisposableStack();
  const database = started.use(await createDatabase());
  const known = await insertJob(database.db, { status: "failure", error: "as it happens" });
  const json = await documentedJson(database.db, known);
  const serving = started.use(
    await startServing({
      DATABASE_URL: database.url,
      // No input is to be shed, and who is slow is to be let go soon.
      MAX_PER_TURN: "100000",
      PEER_TIMEOUT: "2s",
      IDLE_TIMEOUT: "2s",
    }),
  );
  const running = started.move();
  return {
    serving,
    known,
    json,
    unknown: randomUUID(),
    async checkHealth() {
      const answer = fetch(`${serving.url}/get_status/${known}`).then((response) => response.text());
      const end = serving.exit.then(({ stdout, stderr }) => `the service has ended:\n${stdout}${stderr}`);
      expect(await Promise.race([answer.catch(() => end), end])).toBe(json);
      expect(serving.logs.filter(({ level }) => level === "error" || level === "fatal")).toEqual([]);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** How many inputs a property is given at a time, and how many times. The one that fails is named by its assertion. */
export function inputs({ task }: TestContext, batch: number, numRuns: number) {
  task.meta.inputs = batch * numRuns;
  const check: fc.Parameters<unknown> = {
    numRuns,
    endOnFailure: true,
    // fast-check's own would print the whole batch.
    asyncReporter({ failed, seed, counterexamplePath, errorInstance }) {
      if (!failed) return Promise.resolve();
      const { message } = errorInstance as Error;
      throw new Error(`{ seed: ${seed}, path: "${counterexamplePath}" }: ${message}`, {
        cause: errorInstance,
      });
    },
  };
  return { array: { minLength: batch, maxLength: batch }, check };
}
