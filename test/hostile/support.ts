import { readFileSync } from "node:fs";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { type HonestCallers, startHonestCallers } from "../support/honest.ts";
import { type Serving, startServing } from "../support/process.ts";
import { documentedJson, insertJob } from "../support/rows.ts";

/** The greatest growth of the service's memory under an attack, in MiB, including garbage that is not collected yet. */
export const memoryAllowed = 150;

/** NODE_OPTIONS with which garbage is collected soon, and a service that keeps what it should not ends for want of memory. */
export const smallHeap = "--max-old-space-size=128";

/** The service in a process of its own, with honest callers that call it all the time. */
export interface Target extends AsyncDisposable {
  readonly serving: Serving;
  readonly honest: HonestCallers;
  readonly database: TestDatabase;
  /** The id of a job. */
  readonly reqId: string;
  /** The service's resident memory, in MiB. */
  memory(): number;
}

export async function startTarget(env: Readonly<Record<string, string>> = {}): Promise<Target> {
  await using started = new AsyncDisposableStack();
  const database: TestDatabase = started.use(await createDatabase());
  const reqId = await insertJob(database.db, { status: "success" });
  const serving = started.use(await startServing({ DATABASE_URL: database.url, ...env }));
  const honest = started.use(
    startHonestCallers(serving.url, reqId, await documentedJson(database.db, reqId)),
  );
  const running = started.move();
  return {
    serving,
    honest,
    database,
    reqId,
    memory() {
      const status = readFileSync(`/proc/${serving.process.pid}/status`, "latin1");
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
