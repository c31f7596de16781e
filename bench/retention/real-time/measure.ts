import { setTimeout as pause } from "node:timers/promises";
import { openRetention, type Retention } from "../../../src/store/jobs/retention.ts";
import { thisCheckout } from "../../checkout.ts";
import { startGenerator } from "../../generator.ts";
import type { Phase } from "../../load/phase.ts";
import type { Cpus } from "../../machine.ts";
import { concurrency } from "../../plan.ts";
import { startServer } from "../../server.ts";
import type { EmptyTable } from "../database.ts";
import { keptHours, type RealTimePlan, realTime } from "../plan.ts";
import { settleSeconds, startPaced } from "./pace.ts";
import { addExpired, prepareTable } from "./prepare.ts";
import { watchVacuum } from "./vacuum-watch.ts";
import type { PurgeWindow, RealTimeWindow } from "./window.ts";

const protocols = ["rest", "grpc"] as const;

/** Until V8 has compiled what a call goes through, in seconds. */
const warmUp = 4;

/** After rows have been added, in milliseconds. */
const settle = 2_000;

export interface RealTimeOptions {
  readonly table: EmptyTable;
  /** The first job that is not in the table. */
  readonly firstJob: number;
  readonly plan: RealTimePlan;
  readonly cpus: Cpus;
  readonly databasePid: number;
  /** Takes each window. */
  readonly onWindow: (window: RealTimeWindow) => void;
}

/** Measures lookups of the service while producers write at their fixed rate, without a purge and with each kind of purge in turn. */
export async function measureRealTime(options: RealTimeOptions): Promise<RealTimeWindow[]> {
  const { plan, cpus, databasePid, onWindow } = options;
  const { url, admin } = options.table;
  const table = await prepareTable(options.table);
  const { serve, folder } = thisCheckout;
  const candidate = { name: "this service", protocol: "rest", checkout: thisCheckout } as const;
  await using service = await startServer({ ...candidate, command: serve, cwd: folder }, table, cpus.server);
  await using generator = startGenerator(cpus.generator);
  await using retention = openRetention({ url, connectTimeout: 10_000, onLost: () => {} });
  await using producers = await startPaced(url, options.firstJob);
  return await Promise.race([measureStarted(), service.failed, producers.failed]);

  async function measureStarted(): Promise<RealTimeWindow[]> {
    for (const protocol of protocols) {
      await generator.run({ ...phaseOf(protocol), warmUp: 0, seconds: warmUp });
    }
    await pause(settleSeconds * 1000);
    const windows: RealTimeWindow[] = [];
    let expired = 0;
    for (let round = 0; round < plan.rounds; round++) {
      for (const protocol of protocols) {
        await addExpired(options.table, plan.expiredRows - expired);
        expired = plan.expiredRows;
        // What the server has to do for these rows is no part of what is compared.
        await pause(settle);
        const batches = [undefined, ...realTime.batches];
        for (const batch of round % 2 === 0 ? batches : batches.toReversed()) {
          const window = await measureWindow(round, protocol, batch);
          expired = Math.max(0, expired - (window.purge?.rows ?? 0));
          windows.push(window);
          onWindow(window);
        }
      }
    }
    return windows;
  }

  async function measureWindow(
    round: number,
    protocol: RealTimeWindow["protocol"],
    batch: number | undefined,
  ): Promise<RealTimeWindow> {
    const endPurge = batch === undefined ? undefined : startPurge(retention, batch);
    const endVacuumWatch = watchVacuum(admin);
    const submitted = producers.submitted();
    const begin = performance.now();
    const { warmUp, seconds } = plan;
    const result = await generator.run({ ...phaseOf(protocol), rate: realTime.lookups, warmUp, seconds });
    const inserts = ((producers.submitted() - submitted) * 1000) / (performance.now() - begin);
    const purge = await endPurge?.();
    const vacuum = await endVacuumWatch();
    return { round, protocol, result, inserts, vacuum, ...(purge !== undefined && { purge }) };
  }

  function phaseOf(protocol: RealTimeWindow["protocol"]): Omit<Phase, "warmUp" | "seconds"> {
    return {
      protocol,
      ...concurrency[protocol],
      port: service.port,
      rows: table.rows,
      seed: service.port,
      answers: table.base,
      serverPid: service.pid,
      databasePid,
    };
  }
}

/** @returns a function that ends it, after the batch that runs. */
function startPurge(retention: Retention, batch: number): () => Promise<PurgeWindow> {
  const stopping = new AbortController();
  const begin = performance.now();
  const purging = purge();
  purging.catch(() => {});
  return async () => {
    stopping.abort();
    return await purging;
  };

  async function purge(): Promise<PurgeWindow> {
    const { signal } = stopping;
    const { outcome, purged, batches } = await retention.purge({
      olderThan: keptHours * 3_600_000,
      batch,
      signal,
    });
    const seconds = (performance.now() - begin) / 1000;
    return { batch, rows: purged, batches, rate: purged / seconds, isWhole: outcome === "stopped" };
  }
}
