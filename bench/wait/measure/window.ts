import { setTimeout as pause } from "node:timers/promises";
import type { BenchDatabase } from "../../database.ts";
import { createWatch } from "../../load/watch.ts";
import { readMetric } from "./metrics.ts";
import type { Service } from "./service.ts";

/** What waiting costs while nothing changes. CPU as shares of one CPU. */
export interface QuietWindow {
  readonly server: number;
  readonly database: number;
  /** All other programs of this machine but the clients. */
  readonly others: number;
  /** A second. */
  readonly ticks: number;
  readonly idsPerTick: number;
  /** On memory_job, a second. */
  readonly statements: number;
}

/** @param seconds how long it lasts. */
export async function measureQuiet(
  service: Service,
  database: BenchDatabase,
  seconds: number,
): Promise<QuietWindow> {
  const count = async () => ({
    ticks: await readMetric(service.port, "status_poll_ids_count"),
    ids: await readMetric(service.port, "status_poll_ids_sum"),
    statements: await database.statements(),
  });
  const before = await count();
  const watch = createWatch(service.pid, database.pid);
  watch.begin();
  await pause(seconds * 1000);
  const { cpu, seconds: lasted } = watch.end();
  const after = await count();
  const ticks = after.ticks - before.ticks;
  return {
    server: cpu.server / lasted,
    database: cpu.database / lasted,
    others: cpu.others / lasted,
    ticks: ticks / lasted,
    idsPerTick: ticks === 0 ? 0 : (after.ids - before.ids) / ticks,
    statements: (after.statements - before.statements) / lasted,
  };
}
