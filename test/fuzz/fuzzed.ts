import fc from "fast-check";
import { sql } from "kysely";
import { expect, type TestContext } from "vitest";
import { createDatabase } from "../support/database.ts";
import { type Serving, startServing } from "../support/process.ts";
import { documentedJson } from "../support/rows.ts";

declare module "vitest" {
  interface TaskMeta {
    /** The number of inputs that a test has sent, for the total at the end. */
    inputs?: number;
  }
}

/** The id of a job, and one of none. Both are constants, so that a seed reproduces its inputs in every run. */
export const knownId = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
export const unknownId = "00000000-0000-4000-8000-000000000000";

/** The service under test, in a process of its own. */
export interface Fuzzed extends AsyncDisposable {
  readonly serving: Serving;
  /** The documented JSON of the job with `knownId`. */
  readonly json: string;
  /**
   * Sends randomized inputs in batches.
   *
   * @param size the number of inputs in a batch, and the number of batches.
   * @param attempt sends a batch and checks the answers. Its assertions name the input that failed.
   * @throws Error with the seed and path that reproduce the batch, also when the service has ended, no longer answers, or
   *   has logged an error.
   */
  withstands<T>(
    test: TestContext,
    inputs: fc.Arbitrary<T>,
    size: readonly [batchSize: number, batches: number],
    attempt: (batch: readonly T[]) => Promise<void>,
  ): Promise<void>;
}

/** @param env settings besides those that keep a slow machine from failing an input. */
export async function startFuzzed(env: Readonly<Record<string, string>> = {}): Promise<Fuzzed> {
  await using started = new AsyncDisposableStack();
  const database = started.use(await createDatabase());
  await sql`
    insert into memory_job (req_id, status, error)
    values (${knownId}, 'failure', 'as it happens')`.execute(database.db);
  const json = await documentedJson(database.db, knownId);
  const serving = started.use(
    await startServing({
      DATABASE_URL: database.url,
      MAX_WHEN_BUSY: "100000",
      REQUEST_TIMEOUT: "60s",
      ...env,
    }),
  );

  async function checkHealth(): Promise<void> {
    const answer = fetch(`${serving.url}/get_status/${knownId}`).then((response) => response.text());
    const end = serving.exit.then(({ stdout, stderr }) => `the service has ended:\n${stdout}${stderr}`);
    expect(await Promise.race([answer.catch(() => end), end])).toBe(json);
    expect(serving.logs.filter(({ level }) => level === "error" || level === "fatal")).toEqual([]);
  }

  const running = started.move();
  return {
    serving,
    json,
    async withstands({ task }, inputs, [batchSize, batches], attempt) {
      task.meta.inputs = batchSize * batches;
      const batchOf = fc.array(inputs, { minLength: batchSize, maxLength: batchSize });
      const property = fc.asyncProperty(batchOf, async (batch) => {
        await attempt(batch);
        await checkHealth();
      });
      await fc.assert(property, { numRuns: batches, endOnFailure: true, asyncReporter: throwWithoutBatch });
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** fast-check's default reporter would print the whole batch, of which one input matters. */
function throwWithoutBatch<T>({ failed, seed, counterexamplePath, errorInstance }: fc.RunDetails<T>) {
  if (!failed) return Promise.resolve();
  const { message } = errorInstance as Error;
  throw new Error(`{ seed: ${seed}, path: "${counterexamplePath}" }: ${message}`, { cause: errorInstance });
}
