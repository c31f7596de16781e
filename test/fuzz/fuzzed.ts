import { randomUUID } from "node:crypto";
import fc from "fast-check";
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
  /**
   * Tries inputs, so many at a time, so many times.
   *
   * @param attempt sends them and looks at the answers. Its assertions name the input that failed.
   * @throws Error with the seed and path to try the same again, also when the service has ended, does not answer any
   *   more, or has logged an error.
   */
  withstands<T>(
    test: TestContext,
    inputs: fc.Arbitrary<T>,
    [atATime, times]: readonly [number, number],
    attempt: (batch: readonly T[]) => Promise<void>,
  ): Promise<void>;
}

/** @param env settings besides those that let no input fail since the machine is slow. */
export async function startFuzzed(env: Readonly<Record<string, string>> = {}): Promise<Fuzzed> {
  await using started = new AsyncDisposableStack();
  const database = started.use(await createDatabase());
  const known = await insertJob(database.db, { status: "failure", error: "as it happens" });
  const json = await documentedJson(database.db, known);
  const serving = started.use(
    await startServing({
      DATABASE_URL: database.url,
      MAX_WHEN_BUSY: "100000",
      REQUEST_TIMEOUT: "60s",
      ...env,
    }),
  );

  async function checkHealth(): Promise<void> {
    const answer = fetch(`${serving.url}/get_status/${known}`).then((response) => response.text());
    const end = serving.exit.then(({ stdout, stderr }) => `the service has ended:\n${stdout}${stderr}`);
    expect(await Promise.race([answer.catch(() => end), end])).toBe(json);
    expect(serving.logs.filter(({ level }) => level === "error" || level === "fatal")).toEqual([]);
  }

  const running = started.move();
  return {
    serving,
    known,
    json,
    unknown: randomUUID(),
    async withstands({ task }, inputs, [atATime, times], attempt) {
      task.meta.inputs = atATime * times;
      const batches = fc.array(inputs, { minLength: atATime, maxLength: atATime });
      const property = fc.asyncProperty(batches, async (batch) => {
        await attempt(batch);
        await checkHealth();
      });
      await fc.assert(property, { numRuns: times, endOnFailure: true, asyncReporter: throwWithoutBatch });
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** fast-check's own would print the whole batch, of which one input matters. */
function throwWithoutBatch<T>({ failed, seed, counterexamplePath, errorInstance }: fc.RunDetails<T>) {
  if (!failed) return Promise.resolve();
  const { message } = errorInstance as Error;
  throw new Error(`{ seed: ${seed}, path: "${counterexamplePath}" }: ${message}`, { cause: errorInstance });
}
