import { setTimeout as pause } from "node:timers/promises";
import { startCallers } from "../support/faults/callers.ts";
import { faults } from "../support/faults/faults.ts";
import { type Rig, requestTimeout, startRig } from "../support/faults/rig.ts";
import { type HaProxy, startHaProxy } from "../support/ha/haproxy.ts";
import { stablePort } from "../support/ha/ports.ts";
import { installPrograms } from "../support/ha/programs.ts";
import type { Serving } from "../support/process.ts";

/** What a process holds, once it is at rest. Memory in bytes. */
export interface Level {
  readonly resident: number;
  readonly heap: number;
  readonly files: number;
}

export interface SoakResult {
  faults: number;
  restarts: number;
  calls: number;
  wrong: number;
  late: number;
  /** As documented, while the database was broken. */
  failed: number;
  callsDuringRestarts: number;
  lost: number;
  /** What was wrong or lost, the first of it. */
  readonly complaints: string[];
  readonly before: Level;
  after: Level;
}

/** Between two calls of one client, in milliseconds. There is a client for each of 14 ways to ask. */
const pace = 250;
/** Of each fault, in milliseconds. */
const lasting = 2_000;
const recovery = 1_500;
const faultsBetweenRestarts = 5;
/** After which connections of callers who have gone are closed, in milliseconds. */
const idleTimeout = 5_000;

interface Instance {
  readonly name: string;
  readonly port: number;
  readonly checkPort: number;
  serving: Serving;
}

/**
 * Calls all the time, over all protocols. One service lives from the begin to the end and suffers every fault in turn;
 * its memory and handles are compared. Two more stand behind HAProxy and are restarted in turn, in good order.
 *
 * @param stop ends it, after what is under way.
 */
export async function soak(stop: AbortSignal): Promise<SoakResult> {
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
    instances.push({ name, port, checkPort: port, serving: await start(port) });
  }
  const [http1Port, http2Port] = [await stablePort(), await stablePort()];
  const balanced = { mode: "http", check: "GET /readyz", servers: instances } as const;
  const checks = "inter 200ms fall 1 rise 1";
  const haProxy = started.use(
    await startHaProxy(programs, await stablePort(), [
      { name: "http1", port: http1Port, serverOptions: checks, ...balanced },
      { name: "http2", port: http2Port, serverOptions: `${checks} proto h2 check-proto h1`, ...balanced },
    ]),
  );

  await callUndisturbed(rig);
  const before = await levelOf(rig);
  const result: SoakResult = {
    ...{ faults: 0, restarts: 0, calls: 0, wrong: 0, late: 0, failed: 0, callsDuringRestarts: 0, lost: 0 },
    complaints: [],
    before,
    after: before,
  };
  while (!stop.aborted) {
    const fault = faults[result.faults % faults.length];
    if (fault !== undefined) await suffer(rig, fault, result);
    if (++result.faults % faultsBetweenRestarts !== 0) continue;
    const startCalls = () =>
      startCallers(`http://127.0.0.1:${http1Port}`, rig.known, requestTimeout, {
        pace,
        http2Url: `http://127.0.0.1:${http2Port}`,
      });
    await restartAll(instances, haProxy, start, startCalls, result);
  }
  await callUndisturbed(rig);
  result.after = await levelOf(rig);
  rig.service.kill("SIGTERM");
  for (const { serving } of instances) serving.kill("SIGTERM");
  for (const { exit } of [rig.service, ...instances.map(({ serving }) => serving)]) {
    const { code, stderr } = await exit;
    if (code !== 0 || stderr !== "") result.complaints.push(`a service ended with ${code}: ${stderr}`);
  }
  return result;
}

/** What is compiled and filled only once is no leak. */
async function callUndisturbed(rig: Rig): Promise<void> {
  await using _ = startCallers(rig.service.url, rig.known, requestTimeout, { pace });
  await pause(3_000);
}

async function suffer(rig: Rig, fault: (typeof faults)[number], result: SoakResult): Promise<void> {
  await using callers = startCallers(rig.service.url, rig.known, requestTimeout, { pace });
  const mend = await fault.inject(rig);
  await pause(fault.lasts ?? lasting);
  await mend();
  const mendedAt = performance.now();
  await pause(recovery);
  for (const { calls, wrong, late, failed, complaints } of await callers.stop(mendedAt)) {
    result.calls += calls;
    result.wrong += wrong;
    result.late += late;
    result.failed += failed;
    if (wrong > 0) result.complaints.push(...complaints.map((complaint) => `${fault.name}: ${complaint}`));
  }
}

async function restartAll(
  instances: readonly Instance[],
  haProxy: HaProxy,
  start: (port: number) => Promise<Serving>,
  startCalls: () => ReturnType<typeof startCallers>,
  result: SoakResult,
): Promise<void> {
  const allUp = async () => {
    for (const name of ["http1", "http2"])
      await haProxy.leadsTo(
        name,
        instances.map((one) => one.name),
      );
  };
  // They have suffered the faults, too.
  await allUp();
  await using callers = startCalls();
  for (const instance of instances) {
    instance.serving.kill("SIGTERM");
    const { code, stderr } = await instance.serving.exit;
    if (code !== 0 || stderr !== "") result.complaints.push(`a restart ended with ${code}: ${stderr}`);
    instance.serving = await start(instance.port);
    await allUp();
    result.restarts++;
  }
  for (const { calls, wrong, failed, complaints } of await callers.stop(performance.now())) {
    result.calls += calls;
    result.callsDuringRestarts += calls;
    result.lost += wrong + failed;
    if (wrong > 0) result.complaints.push(...complaints.map((complaint) => `restart: ${complaint}`));
  }
}

/** After garbage collection, and when the connections of the callers are closed. */
async function levelOf(rig: Rig): Promise<Level> {
  await pause(1.5 * idleTimeout);
  rig.service.kill("SIGUSR2");
  await pause(500); // a signal says nothing when it has been heeded
  return {
    resident: await rig.metric("process_resident_memory_bytes"),
    heap: await rig.metric("nodejs_heap_size_used_bytes"),
    files: await rig.metric("process_open_fds"),
  };
}
