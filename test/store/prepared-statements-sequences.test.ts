import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseReqId, type ReqId } from "../../src/status/req-id.ts";
import type { JobState } from "../../src/status/status.ts";
import type { StatusStore } from "../../src/status/status-store.ts";
import type { Connections } from "../../src/store/connections/connections.ts";
import { nameOf } from "../../src/store/reads/statement-messages.ts";
import { statusQueries } from "../../src/store/reads/status-query.ts";
import { createStatusStore } from "../../src/store/reads/status-store.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { insertJob } from "../support/rows.ts";
import { callWithin, newReqId, openTestConnections, wordsOf } from "../support/store.ts";

let database: TestDatabase;
/** Of each state one, and two ids that are unknown. */
let expected: ReadonlyMap<ReqId, JobState | "none">;

beforeAll(async () => {
  database = await createDatabase();
  const states = ["pending", "processing", "success"] as const;
  const stored = states.map(async (status) => {
    return [parseReqId(await insertJob(database.db, { status })), status] as const;
  });
  expected = new Map<ReqId, JobState | "none">([
    ...(await Promise.all(stored)),
    [newReqId(), "none"],
    [newReqId(), "none"],
  ]);
});

afterAll(() => database[Symbol.asyncDispose]());

/** What a step works on. */
interface Service {
  readonly store: StatusStore;
  readonly connections: Connections;
}

/** Two, so that a statement that one connection has prepared may be new to the other. */
const poolSize = 2;

/** Runs something on each connection, as a pooler or another client of the pooler does. */
async function onEachConnection({ connections }: Service, sql: string): Promise<void> {
  const taken = await Promise.all(Array.from({ length: poolSize }, () => connections.take()));
  try {
    for (const connection of taken) await connection.query(sql);
  } finally {
    for (const connection of taken) connection.release();
  }
}

async function read({ store }: Service, ids: readonly ReqId[]): Promise<void> {
  const words = wordsOf(await store.findMany(ids, callWithin()));
  expect(words).toEqual(ids.map((id) => expected.get(id)));
}

/** Cancels a read with the first bytes of its statement on their way; others go on meanwhile. */
async function cancelRead(service: Service, ids: readonly ReqId[]): Promise<void> {
  const call = callWithin();
  const cancelled = service.store.findMany(ids, call);
  // The statement leaves at the end of this turn of the event loop.
  setImmediate(() => setImmediate(() => call.cancel("cancelled by the test")));
  await Promise.all([
    cancelled.catch((reason) => expect(reason).toBe("cancelled by the test")),
    read(service, ids),
  ]);
}

/** Another client of a pooler has prepared the same statements on its connections to the server. */
function prepareEverywhere(service: Service): Promise<void> {
  const queries = statusQueries(service.connections.db);
  const ids = [...expected.keys()];
  const texts = [queries.byIds(ids.slice(0, 1)).sql, queries.byIds(ids).sql];
  return onEachConnection(
    service,
    `deallocate all; ${texts.map((sql) => `prepare ${nameOf(sql)} as ${sql}`).join("; ")}`,
  );
}

const alter = (type: string) => `alter table memory_job alter column status type ${type}`;

const ids = fc
  .nat({ max: 30 })
  .map((bits) => [...expected.keys()].filter((_, index) => (bits + 1) & (1 << index)));
const step = (name: string, run: (service: Service) => Promise<unknown>) =>
  fc.constant({ toString: () => name, run });
const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: ids.map((some) => ({
        toString: () => `read ${some.length}`,
        run: (on: Service) => read(on, some),
      })),
    },
    ids.map((some) => ({
      toString: () => `cancel ${some.length}`,
      run: (on: Service) => cancelRead(on, some),
    })),
    step("DEALLOCATE ALL", (on) => onEachConnection(on, "deallocate all")),
    step("DISCARD ALL", (on) => onEachConnection(on, "discard all")),
    step("PREPARE", prepareEverywhere),
    step("status is varchar", () => database.pool.query(alter("varchar(20)"))),
    step("status is text", () => database.pool.query(alter("text"))),
    step("ANALYZE", () => database.pool.query("analyze memory_job")),
    step("terminate, and read", async (on) => {
      const connection = await on.connections.take();
      const { rows } = await connection.query<{ pid: number }>("select pg_backend_pid() as pid");
      connection.release();
      await database.pool.query("select pg_terminate_backend($1, 10000)", [rows[0]?.pid]);
      await read(on, [...expected.keys()]);
    }),
  ),
  { minLength: 5, maxLength: 20 },
);

test.for([
  { preparedStatements: "auto", unnamedDuration: 5 },
  { preparedStatements: "on" },
] as const)("no sequence of events fails a read or makes it wrong: %j", async (options) => {
  let notKept = 0;
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      await using connections = openTestConnections(database.url, poolSize, 10_000);
      const store = createStatusStore(connections, {
        ...options,
        longestUse: Number.POSITIVE_INFINITY,
        onNotKept: () => notKept++,
      });
      for (const { run } of sequence) await run({ store, connections });
      await read({ store, connections }, [...expected.keys()]);
    }),
    { numRuns: 40 },
  );
  // Else the sequences have tested nothing.
  expect(notKept).toBeGreaterThan(0);
});
