import type { PurgeProgress } from "../app/purge.ts";
import type { Log } from "../telemetry/log.ts";
import type { LogOutput } from "../telemetry/log-output.ts";

/** Minimum time between two lines of the log about a purge that runs, in milliseconds. */
const logInterval = 5_000;

const barWidth = 30;

interface Progress extends Disposable {
  show(progress: PurgeProgress): void;
}

/** Shows how far a purge is: as a bar on a terminal, elsewhere as a line of the log now and then. Disposing removes the bar. */
export function createProgress(
  log: Log,
  { showProgress }: LogOutput,
  now = () => performance.now(),
): Progress {
  const startedAt = now();
  let loggedAt = startedAt;
  const rate = ({ purged }: PurgeProgress) => Math.round((1_000 * purged) / Math.max(1, now() - startedAt));
  if (showProgress !== undefined) {
    return {
      show: (progress) => showProgress(progressBar(progress, rate(progress), process.stdout.columns || 80)),
      [Symbol.dispose]: () => showProgress(""),
    };
  }
  return {
    show(progress) {
      if (now() - loggedAt < logInterval) return;
      loggedAt = now();
      const { purged, batches, newest } = progress;
      log.info({ purged, batches, newest, rows_per_second: rate(progress) }, "purging");
    },
    [Symbol.dispose]() {},
  };
}

/**
 * @param columns the width of the terminal, which the line does not exceed: it could not be replaced otherwise.
 * @returns a line whose bar goes by age, since the number of rows is not known: counting them would take as long.
 */
export function progressBar(
  { purged, oldest, newest, cutoff }: PurgeProgress,
  rowsPerSecond: number,
  columns: number,
): string {
  const done = Math.max(0, newest.getTime() - oldest.getTime());
  const all = Math.max(done, cutoff.getTime() - oldest.getTime());
  const share = all === 0 ? 1 : done / all;
  const filled = Math.floor(share * barWidth);
  const bar = "#".repeat(filled).padEnd(barWidth, ".");
  const percent = `${Math.floor(100 * share)}%`.padStart(4);
  const count = (rows: number) => rows.toLocaleString("en");
  const line = `[${bar}] ${percent}  ${count(purged)} rows  ${count(rowsPerSecond)} rows/s`;
  return line.slice(0, Math.max(1, columns - 1));
}
