import { expect } from "vitest";
import type { JobState } from "../../src/status/status.ts";
import type { TestDatabase } from "../support/database.ts";
import { metricValue } from "../support/metric.ts";

/** Has a job move on, as its worker does. */
export async function move(
  { pool }: TestDatabase,
  reqId: string,
  status: JobState,
  error: string | null = null,
): Promise<void> {
  const update = "update memory_job set status = $2, error = $3 where req_id = $1";
  await pool.query(update, [reqId, status, error]);
}

/** Waits until calls watch this many different ids: their first read, which may find a job done, is over. */
export async function untilWatched(url: string, count: number): Promise<void> {
  await untilMetric(url, count, "status_watched_ids");
}

/** Waits until this many calls of a kind are held. */
export async function untilHeld(
  url: string,
  kind: "wait" | "watch" | "events",
  count: number,
): Promise<void> {
  await untilMetric(url, count, "rpc_server_held_calls", { kind });
}

async function untilMetric(
  url: string,
  value: number,
  name: string,
  labels?: Readonly<Record<string, string>>,
): Promise<void> {
  const read = async () => metricValue(await (await fetch(`${url}/metrics`)).text(), name, labels);
  await expect.poll(read).toBe(value);
}
