import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startCallers } from "../support/faults/callers.ts";
import { type Fault, faults, preparedFaults, tlsFaults } from "../support/faults/faults.ts";
import { watchReadiness } from "../support/faults/readiness.ts";
import { type FaultReport, writeReport } from "../support/faults/report.ts";
import { type Rig, type RigOptions, requestTimeout, startRig } from "../support/faults/rig.ts";
import { upgradeSkipped } from "../support/faults/upgradable-postgres.ts";
import { upgradable, upgradeFaults } from "../support/faults/upgrade.ts";
import { startWaiting, type Waiting } from "../support/faults/waiting.ts";
import { notKeptMessage } from "../support/ha/not-kept.ts";

/** Times in milliseconds. */
const before = 300;
const lasting = 2_500;
const after = 1_500;
const recoveryBound = 1_000;
const readinessBound = 2_000;
/** From the end of a fault to all that was final by then: for calls that were held, and for those that were to come back. */
const heldBound = 3_000;
const deliveryBound = 10_000;
const heapBound = 16 * 2 ** 20;

const reports: FaultReport[] = [];
const memory = { heapBefore: 0, heapAfter: 0, rssBefore: 0, rssAfter: 0 };
let postgres = "";

interface Group extends RigOptions {
  readonly group: string;
  readonly faults: readonly Fault[];
  /** Whether the report has the memory of this group's service. */
  readonly isMeasured?: boolean;
  readonly isSkipped?: boolean;
}

const groups: readonly Group[] = [
  { group: "without TLS", tls: false, faults, isMeasured: true },
  { group: "with TLS", tls: true, faults: tlsFaults },
  { group: "prepared", tls: false, env: { PREPARED_STATEMENTS: "on" }, faults: preparedFaults },
  {
    group: "upgrade",
    tls: false,
    start: upgradable.start,
    faults: upgradeFaults,
    isSkipped: upgradeSkipped,
  },
];

describe.for(groups.filter(({ isSkipped }) => isSkipped))("$group", ({ faults }) => {
  test.skip.for(faults)("$name", () => {});
});

describe.for(groups.filter(({ isSkipped }) => !isSkipped))("$group", ({
  faults,
  isMeasured = false,
  ...options
}) => {
  let rig: Rig;
  let waiting: Waiting;
  let heapBefore: number;

  beforeAll(async () => {
    rig = await startRig(options);
    waiting = await startWaiting(rig.url, { rest: rig.service.url, grpc: rig.service.url });
    await using callers = startCallers(rig.service.url, rig.known, requestTimeout);
    await pause(2_000); // memory that is allocated only once, such as compiled code and caches, is no leak
    const tallies = await callers.stop(performance.now());
    expect(tallies.map(({ wrong, failed }) => wrong + failed)).toEqual(tallies.map(() => 0));
    heapBefore = await heapAfterCollection(rig);
    if (!isMeasured) return;
    postgres = rig.version;
    memory.heapBefore = heapBefore;
    memory.rssBefore = await rig.metric("process_resident_memory_bytes");
  });

  afterAll(async () => {
    await waiting[Symbol.asyncDispose]();
    await rig[Symbol.asyncDispose]();
  });

  test.for(faults)("$name", async (fault) => {
    const findChanged = await fault.keeps?.(rig);
    const report = await inject(rig, waiting, fault);
    reports.push(report);

    expect((await findChanged?.()) ?? []).toEqual([]);

    for (const { family, calls, wrong, late, failed, recoveredIn, complaints } of report.tallies) {
      expect(calls, family).toBeGreaterThan(0);
      if (fault.losesPrepared) expect(failed, `${family} failed`).toBe(0);
      expect({ family, wrong, late, complaints }).toEqual({ family, wrong: 0, late: 0, complaints: [] });
      expect(recoveredIn, `${family} recovered in`).toBeLessThanOrEqual(recoveryBound);
    }
    const { calls, wrong, ends, complaints, deliveredIn, heldDeliveredIn } = report.waiting;
    expect(calls, "calls that wait").toBeGreaterThan(0);
    expect({ wrong, complaints }).toEqual({ wrong: 0, complaints: [] });
    expect(Object.keys(ends).filter((as) => !mayEndAs.has(as))).toEqual([]);
    expect(heldDeliveredIn, "held calls: delivered in").toBeLessThanOrEqual(heldBound);
    expect(deliveredIn, "delivered in").toBeLessThanOrEqual(deliveryBound);
    if (fault.outage) {
      expect(report.notReadyAfter, "not ready after").toBeLessThanOrEqual(readinessBound);
      expect(report.readyAfter, "ready after").toBeLessThanOrEqual(readinessBound);
    }
    // It logs that once in a minute.
    if (fault.losesPrepared)
      expect(rig.service.logs.some(({ msg }) => msg.startsWith(notKeptMessage))).toBe(true);
    await expectNothingLeft(rig);
    await expect
      .poll(() => heapAfterCollection(rig), { timeout: 5_000 })
      .toBeLessThan(heapBefore + heapBound);
  });

  test("each final status is delivered in the end", async () => {
    const { calls, wrong, ends, complaints } = await waiting.finish();
    expect(calls).toBeGreaterThan(0);
    expect({ wrong, complaints }).toEqual({ wrong: 0, complaints: [] });
    // Some may have begun during the last fault.
    expect(Object.keys(ends).filter((as) => !mayEndAs.has(as))).toEqual([]);
  });

  test("the service is still the same process, has written nothing to standard error, and shuts down gracefully", async () => {
    if (isMeasured) {
      memory.heapAfter = await heapAfterCollection(rig);
      memory.rssAfter = await rig.metric("process_resident_memory_bytes");
    }
    rig.service.kill("SIGTERM");
    expect(await rig.service.exit).toMatchObject({ code: 0, stderr: "" });
  });
});

afterAll(async () => {
  // The report needs all faults: a run of some of them leaves it as it is.
  if (reports.length < groups.flatMap(({ faults }) => faults).length) return;
  await writeReport(reports, { postgres, requestTimeout, ...memory });
});

/** What a call that waits may end with while the database is broken: the service gives no other reason. */
const mayEndAs = new Set(["OK", "DATASTORE_UNAVAILABLE", "DEADLINE_EXCEEDED"]);

async function inject(rig: Rig, waiting: Waiting, fault: Fault): Promise<FaultReport> {
  const logged = rig.service.logs.length;
  await using readiness = watchReadiness(rig.service.url);
  await using callers = startCallers(rig.service.url, rig.known, requestTimeout);
  await pause(before);
  const injectedAt = performance.now();
  const end = await fault.inject(rig);
  await pause(fault.lasts ?? lasting);
  const notReadyAfter = readiness.changedTo(false, injectedAt);
  await end();
  const endedAt = performance.now();
  const delivery = waiting.delivery(endedAt, deliveryBound);
  await pause(after);
  const tallies = await callers.stop(endedAt);

  const delivered = await delivery;

  const messages = rig.service.logs.slice(logged).map(({ msg }) => msg);
  const breaker = messages.filter((message) => message.startsWith("the database is "));
  if (fault.outage) {
    expect(breaker[0]).toMatch("the database is gone");
    expect(breaker.at(-1)).toBe("the database is back");
  }
  return {
    name: fault.name,
    tallies,
    waiting: delivered,
    notReadyAfter: fault.outage && notReadyAfter,
    readyAfter: readiness.changedTo(true, endedAt),
  };
}

/** No call waits for a connection, the breaker is closed, and the database counts no more connections than the service. */
async function expectNothingLeft(rig: Rig): Promise<void> {
  const state = async () => ({
    exitCode: rig.service.process.exitCode,
    refused: await rig.metric("status_store_breaker_open"),
    waiting: await rig.metric("db_client_connections_pending_requests"),
    leaked: (await rig.backends()).length - (await rig.metric("db_client_connections_open")),
    leakedSockets: rig.proxy.connections - (await rig.metric("db_client_connections_open")),
  });
  await expect
    .poll(state, { timeout: 5_000 })
    .toEqual({ exitCode: null, refused: 0, waiting: 0, leaked: 0, leakedSockets: 0 });
}

async function heapAfterCollection(rig: Rig): Promise<number> {
  rig.service.kill("SIGUSR2");
  await pause(100); // nothing reports that the collection is done
  return await rig.metric("nodejs_heap_size_used_bytes");
}
