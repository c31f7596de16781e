import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startCallers } from "../support/faults/callers.ts";
import { type Fault, faults, tlsFaults } from "../support/faults/faults.ts";
import { watchReadiness } from "../support/faults/readiness.ts";
import { type FaultReport, writeReport } from "../support/faults/report.ts";
import { type Rig, requestTimeout, startRig } from "../support/faults/rig.ts";

/** Times in milliseconds. */
const before = 300;
const lasting = 2_500;
const after = 1_500;
const recoveryBound = 1_000;
const readinessBound = 2_000;
const heapBound = 16 * 2 ** 20;

const reports: FaultReport[] = [];
const memory = { heapBefore: 0, heapAfter: 0, rssBefore: 0, rssAfter: 0 };
let postgres = "";

describe.for([
  { group: "without TLS", tls: false, faults },
  { group: "with TLS", tls: true, faults: tlsFaults },
])("$group", ({ tls, faults }) => {
  let rig: Rig;
  let heapBefore: number;

  beforeAll(async () => {
    rig = await startRig({ tls });
    await using callers = startCallers(rig.service.url, rig.known, requestTimeout);
    await pause(2_000); // what is compiled and filled only once is no leak
    const tallies = await callers.stop(performance.now());
    expect(tallies.map(({ wrong, failed }) => wrong + failed)).toEqual(tallies.map(() => 0));
    heapBefore = await heapAfterCollection(rig);
    if (tls) return;
    postgres = rig.version;
    memory.heapBefore = heapBefore;
    memory.rssBefore = await rig.metric("process_resident_memory_bytes");
  });

  afterAll(() => rig[Symbol.asyncDispose]());

  test.for(faults)("$name", async (fault) => {
    const report = await suffer(rig, fault);
    reports.push(report);

    for (const { family, calls, wrong, late, recoveredIn, complaints } of report.tallies) {
      expect(calls, family).toBeGreaterThan(0);
      expect({ family, wrong, late, complaints }).toEqual({ family, wrong: 0, late: 0, complaints: [] });
      expect(recoveredIn, `${family} recovered in`).toBeLessThanOrEqual(recoveryBound);
    }
    if (fault.outage) {
      expect(report.notReadyAfter, "not ready after").toBeLessThanOrEqual(readinessBound);
      expect(report.readyAfter, "ready after").toBeLessThanOrEqual(readinessBound);
    }
    await expectLevel(rig);
    await expect
      .poll(() => heapAfterCollection(rig), { timeout: 5_000 })
      .toBeLessThan(heapBefore + heapBound);
  });

  test("the service has survived it all in one piece, without a complaint, and ends in good order", async () => {
    if (!tls) {
      memory.heapAfter = await heapAfterCollection(rig);
      memory.rssAfter = await rig.metric("process_resident_memory_bytes");
    }
    rig.service.kill("SIGTERM");
    expect(await rig.service.exit).toMatchObject({ code: 0, stderr: "" });
  });
});

afterAll(async () => {
  // Not when only some of them were run.
  if (reports.length < faults.length + tlsFaults.length) return;
  await writeReport(reports, { postgres, requestTimeout, ...memory });
});

async function suffer(rig: Rig, fault: Fault): Promise<FaultReport> {
  const logged = rig.service.logs.length;
  await using readiness = watchReadiness(rig.service.url);
  await using callers = startCallers(rig.service.url, rig.known, requestTimeout);
  await pause(before);
  const injectedAt = performance.now();
  const mend = await fault.inject(rig);
  await pause(fault.lasts ?? lasting);
  const notReadyAfter = readiness.followed(false, injectedAt);
  await mend();
  const mendedAt = performance.now();
  await pause(after);
  const tallies = await callers.stop(mendedAt);

  const messages = rig.service.logs.slice(logged).map(({ msg }) => msg);
  const breaker = messages.filter((message) => message.startsWith("the database is "));
  if (fault.outage) {
    expect(breaker[0]).toMatch("the database is gone");
    expect(breaker.at(-1)).toBe("the database is back");
  }
  return {
    name: fault.name,
    tallies,
    notReadyAfter: fault.outage && notReadyAfter,
    readyAfter: readiness.followed(true, mendedAt),
  };
}

/** Nobody waits, nothing is refused, and the database knows of no more connections than the service does. */
async function expectLevel(rig: Rig): Promise<void> {
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
  await pause(100); // a signal says nothing when it has been heeded
  return await rig.metric("nodejs_heap_size_used_bytes");
}
