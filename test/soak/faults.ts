import { setTimeout as pause } from "node:timers/promises";
import { startCallers } from "../support/faults/callers.ts";
import { type Fault, faults } from "../support/faults/faults.ts";
import { type Rig, requestTimeout, startRig } from "../support/faults/rig.ts";
import { startWaiting, type Waiting } from "../support/faults/waiting.ts";
import { type Front, startFront } from "../support/ha/front.ts";
import { stablePort } from "../support/ha/ports.ts";
import { installPrograms } from "../support/ha/programs.ts";
import type { Serving } from "../support/process.ts";
import { type Counts, describeCounts, noCounts, noteWaits } from "./counts.ts";
import type { SoakReport } from "./report.ts";

/** The resources of a process without calls. Memory in bytes. */
interface Resources {
  readonly resident: number;
  readonly heap: number;
  readonly files: number;
}

/** The interval between two calls of one client, in milliseconds. There are 14 clients, one for each protocol. */
const pace = 250;
/** The duration of a fault, and of the calls after it, in milliseconds. */
const lasting = 2_000;
const recovery = 1_500;
const faultsBetweenRestarts = 5;
/** After a fault or a restart, until all that was final at its end must be delivered, in milliseconds. */
const deliveryBound = 10_000;
/** The service's IDLE_TIMEOUT, in milliseconds. */
const idleTimeout = 5_000;
/** The greatest growth of the heap after garbage collection, in bytes, and of the number of open files. */
const heapBound = 16 * 2 ** 20;
const filesBound = 16;

interface Instance {
  readonly name: string;
  readonly port: number;
  serving: Serving;
}

/**
 * Calls the service over all protocols, while 200 clients wait for jobs in every way. One instance runs from start to end with
 * every fault of the database in turn, and its memory and open files at the end are compared with those at the start. Two more
 * instances behind HAProxy are restarted gracefully in turn.
 *
 * @param stop ends the soak after the current fault or restarts.
 */
export async function soakFaults(stop: AbortSignal): Promise<SoakReport> {
  await using started = new AsyncDisposableStack();
  const programs = started.use(await installPrograms());
  const rig = started.use(
    await startRig({ tls: false, detached: true, env: { IDLE_TIMEOUT: `${idleTimeout}ms` } }),
  );
  const start = (port: number) => rig.startService({ PORT: String(port), SHUTDOWN_DELAY: "1s" });
  const instances: Instance[] = [];
  started.defer(async () => {
    for (const { serving } of instances) await serving[Symbol.asyncDispose]();
  });
  for (const name of ["one", "two"]) {
    const port = await stablePort();
    instances.push({ name, port, serving: await start(port) });
  }
  const front = started.use(await startFront(programs, instances));

  const ofService = { rest: rig.service.url, grpc: rig.service.url };
  await callUndisturbed(rig);
  await (await startWaiting(rig.url, ofService))[Symbol.asyncDispose]();
  const before = await resourcesOf(rig);
  const waiting = started.use(await startWaiting(rig.url, ofService));
  const counts = noCounts();
  const failures: string[] = [];
  while (!stop.aborted) {
    const fault = faults[counts.faults % faults.length];
    if (fault !== undefined) await inject(rig, waiting, fault, counts, failures);
    if (++counts.faults % faultsBetweenRestarts !== 0) continue;
    const startCalls = () =>
      startCallers(front.urls.rest, rig.known, requestTimeout, { pace, http2Url: front.urls.grpc });
    await using behindFront = await startWaiting(rig.url, front.urls);
    await restartAll(instances, front, start, startCalls, counts, failures);
    noteWaits("restarts", await behindFront.finish(), ["OK", "GOING_AWAY"], counts, failures);
  }
  noteWaits("the end", await waiting.finish(), brokenEnds, counts, failures);
  await waiting[Symbol.asyncDispose]();
  await callUndisturbed(rig);
  const after = await resourcesOf(rig);
  rig.service.kill("SIGTERM");
  for (const { serving } of instances) serving.kill("SIGTERM");
  for (const { exit } of [rig.service, ...instances.map(({ serving }) => serving)]) {
    const { code, stderr } = await exit;
    if (code !== 0 || stderr !== "") failures.push(`a service ended with ${code}: ${stderr}`);
  }
  if (counts.wrong > 0) failures.push(`${counts.wrong} wrong answers`);
  if (counts.wrongWaits > 0) failures.push(`${counts.wrongWaits} times wrong to clients that waited`);
  if (counts.lost > 0) failures.push(`${counts.lost} calls lost on graceful restart`);
  if (after.heap - before.heap > heapBound) failures.push("the heap has grown");
  if (after.files - before.files > filesBound) failures.push("the number of open files has grown");
  return { failures, lines: [...describeCounts(counts), ...describeResources(before, after)] };
}

function describeResources(before: Resources, after: Resources): string[] {
  const mb = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MB`;
  const change = (show: (resources: Resources) => string | number) =>
    `${show(before)} at the start, ${show(after)} at the end`;
  return [
    `memory: resident ${change(({ resident }) => mb(resident))}; heap ${change(({ heap }) => mb(heap))}`,
    `open files: ${change(({ files }) => files)}`,
  ];
}

/** Calls without a fault. Before the first measurement, they allocate memory that is allocated once and is no leak. */
async function callUndisturbed(rig: Rig): Promise<void> {
  await using _ = startCallers(rig.service.url, rig.known, requestTimeout, { pace });
  await pause(3_000);
}

async function inject(
  rig: Rig,
  waiting: Waiting,
  fault: Fault,
  counts: Counts,
  failures: string[],
): Promise<void> {
  await using callers = startCallers(rig.service.url, rig.known, requestTimeout, { pace });
  const end = await fault.inject(rig);
  await pause(fault.lasts ?? lasting);
  await end();
  const endedAt = performance.now();
  const delivery = waiting.delivery(endedAt, deliveryBound);
  await pause(recovery);
  noteWaits(fault.name, await delivery, brokenEnds, counts, failures);
  for (const { calls, wrong, late, failed, complaints } of await callers.stop(endedAt)) {
    counts.calls += calls;
    counts.wrong += wrong;
    counts.late += late;
    counts.failed += failed;
    if (wrong > 0) failures.push(...complaints.map((complaint) => `${fault.name}: ${complaint}`));
  }
}

/** How calls that wait may end while the database is broken. */
const brokenEnds = ["OK", "DATASTORE_UNAVAILABLE", "DEADLINE_EXCEEDED"];

async function restartAll(
  instances: readonly Instance[],
  front: Front,
  start: (port: number) => Promise<Serving>,
  startCalls: () => ReturnType<typeof startCallers>,
  counts: Counts,
  failures: string[],
): Promise<void> {
  // The faults have affected these instances, too.
  await front.allUp();
  await using callers = startCalls();
  for (const instance of instances) {
    instance.serving.kill("SIGTERM");
    const { code, stderr } = await instance.serving.exit;
    if (code !== 0 || stderr !== "") failures.push(`a restart ended with ${code}: ${stderr}`);
    instance.serving = await start(instance.port);
    await front.allUp();
    counts.restarts++;
  }
  for (const { calls, wrong, failed, complaints } of await callers.stop(performance.now())) {
    counts.calls += calls;
    counts.callsDuringRestarts += calls;
    counts.lost += wrong + failed;
    if (wrong > 0) failures.push(...complaints.map((complaint) => `restart: ${complaint}`));
  }
}

/** Measures after garbage collection, and after IDLE_TIMEOUT has closed the callers' connections. */
async function resourcesOf(rig: Rig): Promise<Resources> {
  await pause(1.5 * idleTimeout);
  rig.service.kill("SIGUSR2");
  await pause(500); // nothing reports that the collection is done
  return {
    resident: await rig.metric("process_resident_memory_bytes"),
    heap: await rig.metric("nodejs_heap_size_used_bytes"),
    files: await rig.metric("process_open_fds"),
  };
}
