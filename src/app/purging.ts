import { setTimeout as pause } from "node:timers/promises";
import type { Config } from "../config/config.ts";
import { abortable } from "../status/abort.ts";
import { longestDelay } from "../status/longest-delay.ts";
import { openRetention, type Retention } from "../store/jobs/retention.ts";
import type { Log } from "../telemetry/log.ts";
import type { PurgeCounts, PurgeOutcome } from "../telemetry/metrics/purge.ts";
import { connectionOptions } from "./database.ts";
import type { DatabaseUrl } from "./database-url.ts";
import { warnOfOldTransactions } from "./purge.ts";
import { defaultAge, largestBatch } from "./purge-bounds.ts";
import { purgeFailure } from "./purge-failure.ts";

/** Purges that run while the service does. Disposing waits until they have ended. */
interface Purging extends AsyncDisposable {
  /** Ends the running purge after its batch, or within it after SHUTDOWN_TIMEOUT. No other purge begins. */
  stop(): void;
}

/** Purges in the background, until it is told to stop: see {@link purgeRepeatedly}. */
export function startPurging(config: Config, url: DatabaseUrl, log: Log, counts?: PurgeCounts): Purging {
  return purgeRepeatedly(
    config,
    () => openRetention(connectionOptions(config, url.current, log)),
    log,
    counts,
  );
}

/**
 * Purges each PURGE_INTERVAL, the first time after a random part of it, so that instances take turns. A purge has a connection
 * of its own while it runs, and no failure of it concerns a call or the readiness of the service.
 */
export function purgeRepeatedly(
  config: Pick<Config, "PURGE_INTERVAL" | "SHUTDOWN_TIMEOUT">,
  open: () => Retention,
  log: Log,
  counts?: PurgeCounts,
): Purging {
  const stopping = new AbortController();
  const cancelling = new AbortController();
  let cancelTimer: NodeJS.Timeout | undefined;
  /** The state that was logged last: it is not logged again. */
  let reported = "";

  function report(state: string, write: () => void): void {
    if (state !== "" && state !== reported) write();
    reported = state;
  }

  async function run(): Promise<void> {
    let wait = Math.random() * config.PURGE_INTERVAL;
    for (;;) {
      await pause(Math.min(wait, longestDelay), undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      const startedAt = performance.now();
      const outcome = await purge();
      counts?.ended(outcome, performance.now() - startedAt);
      wait = config.PURGE_INTERVAL * (0.9 + 0.2 * Math.random());
    }
  }

  async function purge(): Promise<PurgeOutcome> {
    try {
      await using retention = open();
      return await abortable(purgeOver(retention), cancelling.signal);
    } catch (err) {
      if (cancelling.signal.aborted) return "stopped";
      const isDenied = purgeFailure(err) === "denied";
      report(String(err), () => {
        if (isDenied)
          log.error({ err }, "the service's role may not purge: see docs/operate/retention.md#roles");
        else log.warn({ err }, "cannot purge: trying again after PURGE_INTERVAL");
      });
      return isDenied ? "denied" : "failed";
    }
  }

  async function purgeOver(retention: Retention): Promise<PurgeOutcome> {
    const startedAt = performance.now();
    let counted = 0;
    const { outcome, purged, batches } = await retention.purge({
      olderThan: defaultAge,
      batch: largestBatch,
      signal: stopping.signal,
      onBatch(progress) {
        counts?.purged(progress.purged - counted);
        counted = progress.purged;
      },
    });
    const totals = { purged, batches, duration_ms: Math.round(performance.now() - startedAt) };
    if (purged > 0) log.info(totals, "purged");
    if (outcome !== "done") return outcome;
    const transactions = await retention.oldTransactions();
    report(transactions.map(({ holder }) => holder).join(), () => warnOfOldTransactions(log, transactions));
    return outcome;
  }

  const running = run();

  function stop(): void {
    stopping.abort();
    cancelTimer ??= setTimeout(
      () => cancelling.abort(new Error("the service is stopping")),
      config.SHUTDOWN_TIMEOUT,
    );
  }

  return {
    stop,
    async [Symbol.asyncDispose]() {
      stop();
      await running;
      clearTimeout(cancelTimer);
    },
  };
}
