import { expect, test } from "vitest";
import { purgeOver } from "../../src/app/purge.ts";
import { purgeRepeatedly } from "../../src/app/purging.ts";
import type { OldTransaction } from "../../src/store/jobs/old-transactions.ts";
import type { PurgeResult, Retention } from "../../src/store/jobs/retention.ts";
import { createLog } from "../../src/telemetry/log.ts";

// What is logged about old transactions. Real ones would have to be ten minutes old: so a stand-in reports them.

const since = new Date("2026-03-03T21:44:15Z");
const holder = "process 4711 (role reports, psql, idle in transaction)";
const warning = {
  level: "warn",
  msg: "old transactions keep deleted rows from being removed: see docs/operate/retention.md#long-transactions",
  transactions: [{ holder, since: since.toISOString() }],
};

function openLog() {
  const logs: Record<string, unknown>[] = [];
  return { logs, log: createLog("info", { write: (line) => void logs.push(JSON.parse(line)) }) };
}

/** @param findOld called once a purge. */
function standIn(
  outcome: PurgeResult["outcome"],
  findOld = (): OldTransaction[] => [{ holder, since }],
): Retention {
  return {
    purge: () => Promise.resolve({ outcome, purged: 0, batches: 1 }),
    count: () => Promise.resolve({ jobs: 0, oldest: undefined }),
    oldTransactions: () => Promise.resolve(findOld()),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

test.for([
  { what: "a purge that is done", outcome: "done", dryRun: false, logs: [{ msg: "purged" }, warning] },
  { what: "a dry run", outcome: "done", dryRun: true, logs: [{ msg: "would purge" }, warning] },
  { what: "a purge that was stopped", outcome: "stopped", dryRun: false, logs: [{ msg: "purged" }] },
  {
    what: "one that has found another at work",
    outcome: "busy",
    dryRun: false,
    logs: [{ msg: "another purger is at work" }],
  },
] as const)("the command, after $what", async ({ outcome, dryRun, logs: expected }) => {
  const { logs, log } = openLog();
  const command = { olderThan: 90_000_000, batch: 5_000, dryRun };
  await purgeOver(standIn(outcome), command, log, new AbortController().signal, () => {});
  expect(logs).toMatchObject(expected);
  expect(logs).toHaveLength(expected.length);
});

test("the service reports old transactions once, and again when others hold rows back, or the same after a while", async () => {
  const { logs, log } = openLog();
  const other = { holder: "replication slot standby (inactive)", since: undefined };
  const found = [[], [{ holder, since }], [{ holder, since }], [other], [], [other], [other]];
  const over = Promise.withResolvers<void>();
  const next = () => {
    if (found.length === 1) over.resolve();
    return found.shift() ?? [];
  };
  const settings = { PURGE_INTERVAL: 1, SHUTDOWN_TIMEOUT: 10_000 };
  await using purging = purgeRepeatedly(settings, () => standIn("done", next), log);
  await over.promise;
  await purging[Symbol.asyncDispose]();
  const holders = logs.map(({ transactions }) => (transactions as [{ holder: string }])[0].holder);
  expect(holders).toEqual([holder, other.holder, other.holder]);
  expect(logs[0]).toMatchObject(warning);
});
